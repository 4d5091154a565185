# PCs and servers.
CC = gcc
CC_PACKAGE = gcc
RUNNER =
# Not position-independent, as musl is by default on the other targets: relocation would dirty the pages of every
# process of ours before main, a third of what a shim needs in all. Heap, stack and mmap stay randomised.
TARGET_RUSTFLAGS := -Ctarget-feature=+crt-static
