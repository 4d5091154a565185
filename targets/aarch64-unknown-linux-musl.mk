# 64-bit ARM boards.
CC = aarch64-linux-gnu-gcc
CC_PACKAGE = gcc-aarch64-linux-gnu libc6-dev-arm64-cross
RUNNER = qemu-aarch64-static
TARGET_RUSTFLAGS = -Ctarget-feature=+crt-static -Crelocation-model=static
