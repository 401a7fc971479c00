package vsock

import (
	"errors"
	"fmt"
	"strconv"
)

// A CID is a vsock context ID: the address of a guest, or of a host itself.
// See vsock(7) and include/uapi/linux/vm_sockets.h.
type CID uint32

// The reserved CIDs, and the ends of the range a guest may have.
const (
	Hypervisor CID = 0          // VMADDR_CID_HYPERVISOR: services of the hypervisor itself
	Loopback   CID = 1          // VMADDR_CID_LOCAL: this side talking to itself, needs vsock_loopback
	Host       CID = 2          // VMADDR_CID_HOST: the host, as its guests address it
	FirstGuest CID = 3          // the lowest CID of a guest
	LastGuest  CID = 0xfffffffe // the highest CID of a guest
	Any        CID = 0xffffffff // VMADDR_CID_ANY: no address in particular
)

// ErrBadCID says that a number can't be the CID of a guest.
var ErrBadCID = errors.New("not the cid of a guest")

// Guest reports whether c is in the range that guests may have.
func (c CID) Guest() bool { return c >= FirstGuest && c <= LastGuest }

// String returns c in decimal, as QEMU, ss and the kernel print it.
func (c CID) String() string { return strconv.FormatUint(uint64(c), 10) }

// ParseCID reads the CID of a guest, in decimal. It fails with [ErrBadCID] for
// the reserved values and for anything that is not such a number.
func ParseCID(s string) (CID, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if c := CID(n); err == nil && c.Guest() {
		return c, nil
	}
	return 0, fmt.Errorf("cid %q: %w (want %d to %d)", s, ErrBadCID, FirstGuest, LastGuest)
}
