# 64-bit RISC-V boards.
CC = riscv64-linux-gnu-gcc
CC_PACKAGE = gcc-riscv64-linux-gnu libc6-dev-riscv64-cross
RUNNER = qemu-riscv64-static
# crt-static matters: this target is dynamic by default.
TARGET_RUSTFLAGS = -Ctarget-feature=+crt-static -Crelocation-model=static
# What `make test-board` emulates, and the release and package of the kernel that it boots.
BOARD = qemu-system-riscv64 -M virt -cpu rv64 -bios default
BOARD_PACKAGE = qemu-system-riscv64:qemu-system-misc
BOARD_CONSOLE = ttyS0
BOARD_KERNEL = sid linux-image-riscv64:riscv64
