package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The header of a qcow2 image, as docs/interop/qcow2.txt in QEMU's source has it.
const (
	qcow2Magic   = "QFI\xfb"
	qcow2Head    = 64 << 10 // all that is read: the header is within the first cluster, and we need the start of that
	qcow2V2      = 72       // bytes of a header of version 2
	qcow2V3      = 104      // bytes of a header of version 3 at least
	maxBacking   = 1023
	bitDataFile  = 1 << 2 // of the incompatible features
	bitEncrypted = 1      // any encryption method
	extEnd       = 0
	extFormat    = 0xe2792aca // name of the format of the image below
)

// A qcow2 is what a header tells that decides whether and how an image is opened.
type qcow2 struct {
	size          int64
	backing       string
	backingFormat string
	dataFile      bool
}

func isQCOW2(head []byte) bool {
	return bytes.HasPrefix(head, []byte(qcow2Magic)) && len(head) >= 8 && binary.BigEndian.Uint32(head[4:]) >= 2
}

// parseQCOW2 reads the header of an image. It fails on what QEMU would refuse, and
// on headers that do not fit into the first bytes.
func parseQCOW2(head []byte) (qcow2, error) {
	if !isQCOW2(head) || len(head) < qcow2V2 {
		return qcow2{}, errors.New("its qcow2 header is cut off")
	}
	be := binary.BigEndian
	version, length := be.Uint32(head[4:]), uint64(qcow2V2)
	size := be.Uint64(head[24:])
	q := qcow2{size: int64(size)} //nolint:gosec // checked below
	if size > math.MaxInt64 {
		return qcow2{}, fmt.Errorf("its qcow2 header says %d bytes", size)
	}
	if version > 3 {
		return qcow2{}, fmt.Errorf("is of version %d of qcow2, want 2 or 3", version)
	}
	if be.Uint32(head[32:]) >= bitEncrypted {
		return qcow2{}, errors.New("is encrypted")
	}
	if version == 3 {
		if len(head) < qcow2V3 {
			return qcow2{}, errors.New("its qcow2 header is cut off")
		}
		q.dataFile = be.Uint64(head[72:])&bitDataFile != 0
		length = uint64(be.Uint32(head[100:]))
		if length < qcow2V3 || length > uint64(len(head)) {
			return qcow2{}, fmt.Errorf("its qcow2 header says that it has %d bytes", length)
		}
	}
	at, n := be.Uint64(head[8:]), uint64(be.Uint32(head[16:]))
	if at == 0 {
		return q, nil
	}
	if n == 0 || n > maxBacking || at < length || at > uint64(len(head)) || n > uint64(len(head))-at {
		return qcow2{}, errors.New("its qcow2 header has no name for the image below it where it says")
	}
	q.backing = string(head[at : at+n])
	format, err := qcow2Format(head[length:at])
	q.backingFormat = format
	return q, err
}

// qcow2Format finds the format of the image below among the header's extensions.
func qcow2Format(ext []byte) (string, error) {
	for len(ext) >= 8 {
		kind, n := binary.BigEndian.Uint32(ext), uint64(binary.BigEndian.Uint32(ext[4:]))
		ext = ext[8:]
		if kind == extEnd {
			return "", nil
		}
		if n > uint64(len(ext)) {
			return "", errors.New("its qcow2 header has an extension that does not end")
		}
		if kind == extFormat {
			return string(ext[:n]), nil
		}
		ext = ext[min((n+7)&^7, uint64(len(ext))):]
	}
	return "", nil
}
