# PCs and servers.
CC = gcc
CC_PACKAGE = gcc
RUNNER =
# A fixed address, as on the other targets: relocation would give each process of ours, also a container's shim, 120 KiB
# of its own. Stack, heap and mappings stay random.
TARGET_RUSTFLAGS = -Ctarget-feature=+crt-static -Crelocation-model=static
# Equal sequences of instructions become functions. For the smallest code the compiler does so by itself on the other
# targets.
MINIMAL_RUSTFLAGS = -Cllvm-args=-enable-machine-outliner=always
# What `make test-board` emulates, and the release and package of the kernel that it boots.
BOARD = qemu-system-x86_64 -M q35 -cpu max
BOARD_PACKAGE = qemu-system-x86_64:qemu-system-x86
BOARD_CONSOLE = ttyS0
BOARD_KERNEL = bookworm linux-image-cloud-amd64:amd64
