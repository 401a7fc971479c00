// Package bootdisk makes a disk that boots in a BIOS and says so, in 1 KiB. It
// is for tests only.
package bootdisk

import "encoding/binary"

// sector is how large a disk's sectors are, and what the BIOS loads of one.
const sector = 512

// Image returns a raw disk image of size bytes, at least a KiB, whose guest counts its boots on its
// second sector and writes the count as "boot N" and a line end to the serial
// port, for N from 1 to 9. Then it halts: it does not hear its power button.
func Image(size int) []byte {
	disk := make([]byte, max(size, 2*sector))
	code := []byte{
		0x31, 0xc0, //             xor  ax, ax
		0x8e, 0xd8, //             mov  ds, ax
		0x8e, 0xc0, //             mov  es, ax
		0xb8, 0x01, 0x02, //       mov  ax, 0x0201   ; read one sector
		0xbb, 0x00, 0x7e, //       mov  bx, 0x7e00   ; to behind this one
		0xb9, 0x02, 0x00, //       mov  cx, 2        ; the second one
		0x30, 0xf6, //             xor  dh, dh       ; of the disk in dl
		0xcd, 0x13, //             int  0x13
		0xfe, 0x06, 0x00, 0x7e, // inc  byte [0x7e00]
		0xb8, 0x01, 0x03, //       mov  ax, 0x0301   ; write it back
		0xb9, 0x02, 0x00, //       mov  cx, 2
		0xcd, 0x13, //             int  0x13
		0xa0, 0x00, 0x7e, //       mov  al, [0x7e00]
		0xa2, 0, 0, //             mov  [text+5], al
		0xbe, 0, 0, //             mov  si, text
		0xba, 0xf8, 0x03, //       mov  dx, 0x3f8    ; the serial port
		0xfc,       //             cld
		0xac,       //       next: lodsb
		0x84, 0xc0, //             test al, al
		0x74, 0x03, //             jz   end
		0xee,       //             out  dx, al
		0xeb, 0xf8, //             jmp  next
		0xf4,       //       end:  hlt
		0xeb, 0xfd, //             jmp  end
	}
	text := uint16(0x7c00 + len(code)) //nolint:gosec // where a BIOS loads it
	binary.LittleEndian.PutUint16(code[35:], text+5)
	binary.LittleEndian.PutUint16(code[38:], text)
	copy(disk, code)
	copy(disk[len(code):], "boot ?\r\n\x00")
	disk[510], disk[511] = 0x55, 0xaa
	disk[sector] = '0'
	return disk
}
