package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// The kernel tells ACPI events to a group of generic netlink, which needs no
// input devices. See drivers/acpi/event.c of Linux.
const (
	acpiFamily     = "acpi_event"
	acpiGroup      = "acpi_mc_group"
	acpiEventAttr  = 1  // ACPI_GENL_ATTR_EVENT: struct acpi_genl_event
	acpiClassSize  = 20 // its device_class
	powerButton    = "button/power"
	netlinkReceive = 8192 // one message fits
)

// attributeType masks the flags out of an attribute's type (NLA_TYPE_MASK).
const attributeType = 0x3fff

// genlHeaderLen is the size of struct genlmsghdr: command, version, reserved.
const genlHeaderLen = 4

// errNoACPIEvents is returned by a kernel that has no such group.
var errNoACPIEvents = errors.New("kernel tells no ACPI events")

// watchButton calls pressed for each press of the power button, which is what
// QMP's system_powerdown does. It returns errNoACPIEvents where the kernel
// can't tell, and otherwise when the socket fails.
func watchButton(pressed func()) error {
	sock, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) {
		return errNoACPIEvents
	}
	if err != nil {
		return fmt.Errorf("power button: %w", os.NewSyscallError("socket", err))
	}
	defer unix.Close(sock)
	if err := joinGroup(sock, acpiFamily, acpiGroup); err != nil {
		return err
	}
	buf := make([]byte, netlinkReceive)
	for {
		n, _, err := unix.Recvfrom(sock, buf, 0)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOBUFS): // what was lost is lost
		case err != nil:
			return fmt.Errorf("power button: %w", os.NewSyscallError("recvfrom", err))
		case isPowerButton(buf[:n]):
			pressed()
		}
	}
}

// joinGroup asks for a multicast group's number by name, and joins it. It fails
// with errNoACPIEvents if there is no such group.
func joinGroup(sock int, family, name string) error {
	if err := unix.Sendto(sock, familyRequest(family), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("power button: %w", os.NewSyscallError("sendto", err))
	}
	buf := make([]byte, netlinkReceive)
	n, _, err := unix.Recvfrom(sock, buf, 0)
	if err != nil {
		return fmt.Errorf("power button: %w", os.NewSyscallError("recvfrom", err))
	}
	group, ok := groupNumber(buf[:n], name)
	if !ok {
		return errNoACPIEvents
	}
	if err := unix.SetsockoptInt(sock, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, int(group)); err != nil {
		return fmt.Errorf("power button: %w", os.NewSyscallError("setsockopt", err))
	}
	return nil
}

// familyRequest asks the generic netlink controller about a family.
func familyRequest(name string) []byte {
	value := append([]byte(name), 0)
	attr := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofNlAttr+len(value)))
	attr = binary.NativeEndian.AppendUint16(attr, unix.CTRL_ATTR_FAMILY_NAME)
	attr = append(attr, value...)
	for len(attr)%unix.NLA_ALIGNTO != 0 {
		attr = append(attr, 0)
	}
	m := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+genlHeaderLen+len(attr)))
	m = binary.NativeEndian.AppendUint16(m, unix.GENL_ID_CTRL)
	m = binary.NativeEndian.AppendUint16(m, unix.NLM_F_REQUEST)
	m = append(m, 0, 0, 0, 0, 0, 0, 0, 0)           // sequence and port: the kernel fills in
	m = append(m, unix.CTRL_CMD_GETFAMILY, 1, 0, 0) // version 1
	return append(m, attr...)
}

// groupNumber finds a group in the controller's answer.
func groupNumber(message []byte, name string) (uint32, bool) {
	for kind, groups := range attributes(genlPayload(message)) {
		if kind != unix.CTRL_ATTR_MCAST_GROUPS {
			continue
		}
		for _, group := range attributes(groups) {
			var found bool
			var number uint32
			for kind, value := range attributes(group) {
				switch {
				case kind == unix.CTRL_ATTR_MCAST_GRP_NAME:
					found = text(value) == name
				case kind == unix.CTRL_ATTR_MCAST_GRP_ID && len(value) == 4:
					number = binary.NativeEndian.Uint32(value)
				}
			}
			if found {
				return number, true
			}
		}
	}
	return 0, false
}

// isPowerButton tells whether a message is about a press of the power button.
func isPowerButton(message []byte) bool {
	for kind, event := range attributes(genlPayload(message)) {
		if kind == acpiEventAttr && len(event) >= acpiClassSize && text(event[:acpiClassSize]) == powerButton {
			return true
		}
	}
	return false
}

// genlPayload returns the attributes of the first message in b.
func genlPayload(b []byte) []byte {
	if len(b) < unix.SizeofNlMsghdr+genlHeaderLen {
		return nil
	}
	size := int(binary.NativeEndian.Uint32(b))
	if size > len(b) || size < unix.SizeofNlMsghdr+genlHeaderLen {
		return nil
	}
	return b[unix.SizeofNlMsghdr+genlHeaderLen : size]
}

// attributes yields each netlink attribute's type and value; a malformed one
// ends it.
func attributes(b []byte) func(yield func(uint16, []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			size, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
			if size < unix.SizeofNlAttr || size > len(b) {
				return
			}
			if !yield(kind&attributeType, b[unix.SizeofNlAttr:size]) {
				return
			}
			b = b[min(len(b), (size+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
		}
	}
}

// text returns the string before the first zero byte.
func text(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}
