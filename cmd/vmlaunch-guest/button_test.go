package main

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// TestJoinGroup asks the running kernel for a group that every Linux has, and
// for one that none has.
func TestJoinGroup(t *testing.T) {
	sock, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(sock)
	if err := joinGroup(sock, "nlctrl", "notify"); err != nil {
		t.Errorf("nlctrl notify: %v", err)
	}
	for _, other := range [][2]string{{"nlctrl", "no-such-group"}, {"no-such-family", "notify"}} {
		if err := joinGroup(sock, other[0], other[1]); !errors.Is(err, errNoACPIEvents) {
			t.Errorf("%v: %v, want errNoACPIEvents", other, err)
		}
	}
}

// acpiEvent is a message as the kernel sends it: struct acpi_genl_event holds
// the class (20 bytes), the device (15), and two numbers.
func acpiEvent(class string) []byte {
	event := make([]byte, 44)
	copy(event, class)
	copy(event[20:], "LNXPWRBN:00")
	m := make([]byte, unix.SizeofNlMsghdr+genlHeaderLen, 64)
	m = binary.NativeEndian.AppendUint16(m, uint16(unix.SizeofNlAttr+len(event)))
	m = binary.NativeEndian.AppendUint16(m, acpiEventAttr)
	m = append(m, event...)
	binary.NativeEndian.PutUint32(m, uint32(len(m)))
	return m
}

func TestIsPowerButton(t *testing.T) {
	press := acpiEvent("button/power")
	if !isPowerButton(press) {
		t.Error("a press of the power button is not seen")
	}
	for _, class := range []string{"button/sleep", "button/lid", "button/powerful", "ac_adapter", ""} {
		if isPowerButton(acpiEvent(class)) {
			t.Errorf("%q is taken for the power button", class)
		}
	}
	for n := range len(press) {
		if isPowerButton(press[:n]) {
			t.Errorf("the first %d bytes are taken for the whole", n)
		}
	}
}
