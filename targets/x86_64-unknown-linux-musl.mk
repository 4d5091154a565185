# PCs and servers.
CC = gcc
CC_PACKAGE = gcc
RUNNER =
# Position-independent, as the target is by default: addresses are random also here, where most attacks are tried.
# Relocation costs each process of ours some 70 KiB of its own.
TARGET_RUSTFLAGS := -Ctarget-feature=+crt-static
# What `make test-board` emulates, and the release and package of the kernel that it boots.
BOARD = qemu-system-x86_64 -M q35 -cpu max
BOARD_PACKAGE = qemu-system-x86_64:qemu-system-x86
BOARD_CONSOLE = ttyS0
BOARD_KERNEL = bookworm linux-image-cloud-amd64:amd64
