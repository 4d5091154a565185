# 64-bit RISC-V boards.
CC = riscv64-linux-gnu-gcc
CC_PACKAGE = gcc-riscv64-linux-gnu libc6-dev-riscv64-cross
RUNNER = qemu-riscv64-static
# crt-static matters: this target is dynamic by default.
TARGET_RUSTFLAGS = -Ctarget-feature=+crt-static -Crelocation-model=static
