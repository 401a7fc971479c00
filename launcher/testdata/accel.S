# The guest that accel.go runs to find out whether an accelerator really runs
# guests. It goes the way every 64-bit kernel goes: real mode, protected mode,
# long mode with paging, floating point state saved and restored,
# an MSR, the time stamp, a thousand port writes; then it reports success through
# isa-debug-exit. It is assembled by TestAccelGuestMatchesItsSource, which
# compares the result with the bytes in accel.go.
	.set ROM, 0xf0000		# where the last 64 KiB of the ROM lie
	.set TABLES, 0x1000		# page tables
	.set AREA, 0x8000		# for XSAVE
	.set EXIT, 0xf4			# port of isa-debug-exit

	.code16
	.org 0
start16:
	cli
	lgdtl %cs:gdtr - start16
	movl %cr0, %eax
	orl $1, %eax			# protected mode
	movl %eax, %cr0
	ljmpl $8, $ROM + start32 - start16

	.code32
start32:
	movw $16, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movl $TABLES, %edi		# identity map of the first 2 MiB
	xorl %eax, %eax
	movl $0x3000 / 4, %ecx
	rep stosl
	movl $TABLES + 0x1003, TABLES
	movl $TABLES + 0x2003, TABLES + 0x1000
	movl $0x83, TABLES + 0x2000
	movl $TABLES, %eax
	movl %eax, %cr3
	movl $0x620, %eax		# PAE, OSFXSR, OSXMMEXCPT
	movl %eax, %cr4
	movl $0xc0000080, %ecx		# EFER
	rdmsr
	orl $0x100, %eax		# LME
	wrmsr
	movl $0x80000033, %eax		# PG NE ET MP PE
	movl %eax, %cr0
	ljmpl $24, $ROM + start64 - start16

	.code64
start64:
	movl $1, %eax
	cpuid
	testl $1 << 26, %ecx		# XSAVE
	jz 1f
	movq %cr4, %rax
	orl $1 << 18, %eax		# OSXSAVE
	movq %rax, %cr4
	xorl %ecx, %ecx
	xorl %edx, %edx
	movl $3, %eax			# x87 and SSE state
	xsetbv
	xsave64 AREA
	xrstor64 AREA
1:	fxsave64 AREA
	fxrstor64 AREA
	movl $0x1b, %ecx		# IA32_APIC_BASE
	rdmsr
	rdtsc
	movl $1000, %ecx
2:	outb %al, $0x80
	decl %ecx
	jnz 2b
	movb $0x10, %al
	outb %al, $EXIT
3:	hlt
	jmp 3b

	.balign 8
gdt:	.quad 0
	.quad 0x00cf9a000000ffff	# 8: 32-bit code
	.quad 0x00cf92000000ffff	# 16: data
	.quad 0x00af9a000000ffff	# 24: 64-bit code
gdtr:	.word . - gdt - 1
	.long ROM + gdt - start16
end:
