# 64-bit ARM boards.
CC = aarch64-linux-gnu-gcc
CC_PACKAGE = gcc-aarch64-linux-gnu libc6-dev-arm64-cross
RUNNER = qemu-aarch64-static
TARGET_RUSTFLAGS = -Ctarget-feature=+crt-static -Crelocation-model=static
# What `make test-board` emulates, and the release and package of the kernel that it boots.
BOARD = qemu-system-aarch64 -M virt,gic-version=3 -cpu cortex-a57
BOARD_PACKAGE = qemu-system-aarch64:qemu-system-arm
BOARD_CONSOLE = ttyAMA0
BOARD_KERNEL = bookworm linux-image-cloud-arm64:arm64
