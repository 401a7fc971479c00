#include "textflag.h"

// func outw(port, value uint16)
TEXT ·outw(SB), NOSPLIT, $0-4
	MOVW	port+0(FP), DX
	MOVW	value+2(FP), AX
	OUTW
	RET
