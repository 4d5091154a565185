# 32-bit ARM boards with a floating point unit.
CC = arm-linux-gnueabihf-gcc
CC_PACKAGE = gcc-arm-linux-gnueabihf libc6-dev-armhf-cross
RUNNER = qemu-arm-static
# musl's time_t has 64 bits; the libc crate follows only when told.
TARGET_RUSTFLAGS = -Ctarget-feature=+crt-static -Crelocation-model=static --cfg=libc_unstable_time64
# What `make test-board` emulates, and the release and package of the kernel that it boots.
BOARD = qemu-system-arm -M virt -cpu cortex-a15
BOARD_PACKAGE = qemu-system-arm:qemu-system-arm
BOARD_CONSOLE = ttyAMA0
BOARD_KERNEL = bookworm linux-image-armmp-lpae:armhf
