# PCs and servers.
CC = gcc
CC_PACKAGE = gcc
RUNNER =
# Position-independent, as the target is by default: addresses are random also here, where most attacks are tried.
# Relocation costs each process of ours some 70 KiB of its own.
TARGET_RUSTFLAGS := -Ctarget-feature=+crt-static
