# One bare-metal image per profile in boards/, and one of each with convolutions only (docs/boards.md).
BOARDS := $(basename $(notdir $(wildcard boards/*.board)))
# $(call profile,BOARD,LINE)
profile = $(shell sed -n 's/^$(2)=//p' boards/$(1).board)

BARE := -Xfrontend -disable-stack-protector
SWIFT_aarch64 := $(BARE)
SWIFT_aarch64-conv := $(BARE) -D MKEDGE_CONV_ONLY
SWIFT_cortexm := $(BARE) -target-cpu cortex-m55
SWIFT_cortexm-conv := $(BARE) -target-cpu cortex-m55 -D MKEDGE_CONV_ONLY

TRIPLE_aarch64 := aarch64-none-none-elf
CROSS_aarch64 := --target=aarch64-none-elf -ffreestanding
KERNELS_aarch64 := cpu kernels_neon tokens_neon
START_aarch64 := start_aarch64.S
DEFINES_neon := -DMKEDGE_NEON_ONLY

TRIPLE_cortexm := armv7em-none-none-eabi
CROSS_cortexm := --target=thumbv8.1m.main-none-eabi -mfloat-abi=soft -ffreestanding
KERNELS_cortexm := cpu
START_cortexm := start_cortexm.c

REGIONS := stack:STACK_KIB plan:PLAN_KIB arena:ARENA_KIB store:STORE_KIB ram:RAM_KIB
size_symbols = $(foreach r,$(REGIONS),--defsym=_$(word 1,$(subst :, ,$(r)))_size=$(call profile,$(1),$(word 2,$(subst :, ,$(r))))*1024)

# The Swift modules of an architecture: $(1) variant, $(2) triple.
define arch_modules
$(call target_modules,$(1),$(2))
$(call module,$(1),$(2),Board,$(call program,Board),MKRuntime)
endef

# $(1) board, $(2) architecture, $(3) "" or "-conv"
define board_image
$(BUILD)/$(1)$(3).elf: $(patsubst %,$(BUILD)/$(2)$(3)/%.o,$(MODULES) Board) link/$(2).ld boards/$(1).board \
		$(patsubst %,$(BUILD)/$(1)/%.o,$(KERNELS_$(2)) board builtins plan $(basename $(START_$(2))))
	@$(TOOLCHAIN)ld.lld -static --gc-sections -T link/$(2).ld $(call size_symbols,$(1)) -Map=$$@.map -o $$@ $$(filter %.o,$$^)
endef
define board_images
$(call c_objects,$(1),$(CROSS_$(2)) -mcpu=$(call profile,$(1),CPU) $(DEFINES_$(call profile,$(1),ISA)) \
	-DMKP_FLASH_KIB=$(call profile,$(1),FLASH_KIB),$(patsubst %,$(ROOT)/Sources/COps/%.c,$(KERNELS_$(2))) \
	$(patsubst %,Sources/CPlatform/%.c,board builtins plan) Sources/CPlatform/$(START_$(2)))
$(call board_image,$(1),$(2),)
$(call board_image,$(1),$(2),-conv)
endef
ARCHS := $(sort $(foreach board,$(BOARDS),$(call profile,$(board),ARCH)))
$(foreach arch,$(ARCHS),$(foreach variant,$(arch) $(arch)-conv,$(eval $(call arch_modules,$(variant),$(TRIPLE_$(arch))))))
$(foreach board,$(BOARDS),$(eval $(call board_images,$(board),$(call profile,$(board),ARCH))))

IMAGES := $(foreach board,$(BOARDS),$(BUILD)/$(board).elf $(BUILD)/$(board)-conv.elf)
images: $(IMAGES)

# Counts instructions on a processor that has every ARM instruction set here; not a board.
$(eval $(call module,aarch64,$(TRIPLE_aarch64),TestSupport,$(TEST_SUPPORT),Ops))
$(eval $(call module,aarch64,$(TRIPLE_aarch64),KernelCount,$(call program,KernelCount),TestSupport))
$(eval $(call c_objects,kernel-count,$(CROSS_aarch64) -march=armv8.6-a+i8mm+dotprod -DMKP_FLASH_KIB=1,\
	$(patsubst %,$(ROOT)/Sources/COps/%.c,$(KERNELS_linux-aarch64)) \
	$(patsubst %,Sources/CPlatform/%,board.c builtins.c plan.c start_aarch64.S)))
$(BUILD)/kernel-count.elf: $(patsubst %,$(BUILD)/aarch64/%.o,FixedPoint Ops TestSupport KernelCount) \
		$(patsubst %,$(BUILD)/kernel-count/%.o,$(KERNELS_linux-aarch64) board builtins plan start_aarch64)
	@$(TOOLCHAIN)ld.lld -static --gc-sections -T link/aarch64.ld $(patsubst %,--defsym=_%_size=4096*1024,stack arena store) \
		--defsym=_plan_size=16384*1024 --defsym=_ram_size=32768*1024 -o $@ $^
