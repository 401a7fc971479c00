/*
 * The first instructions: from the reset vector in real mode to main() in 32-bit flat mode, and the interrupt entries.
 *
 * The image is linked where the processor finds it, in the last 64 KiB below 4 GiB, and runs there: nothing is copied or
 * shadowed, and no chipset register has to be touched before C runs. It is read-only, so there is no .data (probe.ld says so).
 */
	.section .note.GNU-stack,"",@progbits

/* 0xfffffff0: what the processor executes after reset, with CS base 0xffff0000. */
	.section .reset,"ax",@progbits
	.code16
	jmp	real_mode
	.balign	16, 0

	.section .entry,"ax",@progbits
real_mode:
	cli
	cld
	lgdtl	%cs:gdt_pointer_offset
	movl	%cr0, %eax
	andl	$0x9fffffff, %eax	/* CD and NW off: with KVM and a passed-through cache they would make every access slow */
	orl	$1, %eax		/* PE */
	movl	%eax, %cr0
	ljmpl	$8, $protected_mode

	.code32
	.globl	protected_mode
protected_mode:
	movw	$16, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %fs
	movw	%ax, %gs
	movw	%ax, %ss
	movl	$stack_top, %esp
	movl	$bss_start, %edi
	movl	$bss_end, %ecx
	subl	%edi, %ecx
	xorl	%eax, %eax
	rep stosb
	call	main
1:	cli
	hlt
	jmp	1b

/* A flat code and a flat data segment, 4 GiB each. */
	.balign	8
gdt:	.quad	0
	.quad	0x00cf9a000000ffff
	.quad	0x00cf92000000ffff
	.globl	gdt_pointer
gdt_pointer:
	.word	. - gdt - 1
	.long	gdt

/*
 * Interrupts only end the hlt of the main loop, which then looks at everything by itself. The end of interrupt goes to the
 * local APIC (0xfee000b0); of a spurious interrupt the APIC wants to hear nothing.
 */
	.section .text,"ax",@progbits
	.globl	interrupt_wake
interrupt_wake:
	movl	$0, 0xfee000b0
	.globl	interrupt_spurious
interrupt_spurious:
	iret

/* The ACPI interrupt is a level: power_interrupt() takes the cause away before the end of interrupt. */
	.globl	interrupt_power
interrupt_power:
	pushal
	cld
	call	power_interrupt
	movl	$0, 0xfee000b0
	popal
	iret

/*
 * Processor exceptions: a bug of ours. Every vector enters here through its own 8-byte stub, which pushes its number;
 * a processor-pushed error code may lie below it, which is why interrupt_fault prints two words.
 */
	.balign	8
	.globl	interrupt_exceptions
interrupt_exceptions:
	.set	vector, 0
	.rept	32
	.balign	8
	pushl	$vector
	jmp	1f
	.set	vector, vector + 1
	.endr
1:	call	interrupt_fault		/* does not return */
