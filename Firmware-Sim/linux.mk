# mkrun-lite and kernel-check as static Linux programs, for aarch64 (run by qemu-aarch64) and for the host.
LINUX_TARGETS := linux-aarch64 linux-x86_64
TRIPLE_linux-aarch64 := aarch64-none-none-elf
TRIPLE_linux-x86_64 := x86_64-unknown-linux-gnu
CROSS_FLAGS_linux-aarch64 := --target=aarch64-linux-gnu -isystem /usr/aarch64-linux-gnu/include
CROSS_FLAGS_linux-x86_64 := --target=x86_64-linux-gnu
SWIFT_linux-x86_64 := -Xcc -fno-pic -static
KERNELS_linux-aarch64 := cpu kernels_neon tokens_neon kernels_dotprod kernels_i8mm
KERNELS_linux-x86_64 := cpu kernels_avx2 tokens_avx2 kernels_avxvnni kernels_avx512vnni256 kernels_avx512vnni kernels_avx512vbmi2 tokens_avx512vnni

define linux_target
$(call target_modules,$(1),$(TRIPLE_$(1)))
$(call module,$(1),$(TRIPLE_$(1)),TestSupport,$(TEST_SUPPORT),Ops)
$(call module,$(1),$(TRIPLE_$(1)),Lite,$(call program,Lite),MKRuntime)
$(call module,$(1),$(TRIPLE_$(1)),KernelCheck,$(call program,KernelCheck),TestSupport)
$(call c_objects,$(1),$(CROSS_FLAGS_$(1)),$(patsubst %,$(ROOT)/Sources/COps/%.c,$(KERNELS_$(1))) Sources/CPlatform/linux.c)
$(BUILD)/$(1)/mkrun-lite: $(patsubst %,$(BUILD)/$(1)/%.o,$(MODULES) Lite $(KERNELS_$(1)) linux)
	@$(CLANG) $(CROSS_FLAGS_$(1)) -static -fuse-ld=lld -Wl,--gc-sections -o $$@ $$^
$(BUILD)/$(1)/kernel-check: $(patsubst %,$(BUILD)/$(1)/%.o,FixedPoint Ops TestSupport KernelCheck $(KERNELS_$(1)) linux)
	@$(CLANG) $(CROSS_FLAGS_$(1)) -static -fuse-ld=lld -Wl,--gc-sections -o $$@ $$^
endef
$(foreach target,$(LINUX_TARGETS),$(eval $(call linux_target,$(target))))
