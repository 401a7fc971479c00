package netns

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// An ID names a network namespace for good: no other one, at any time on any
// host, has the same. (Inode numbers of namespaces are reused within minutes.)
// IDs are compared with ==.
type ID struct {
	Boot   string `json:"boot"`   // the kernel's boot id
	Cookie uint64 `json:"cookie"` // SO_NETNS_COOKIE, never given twice within a boot
}

// String returns boot/cookie.
func (id ID) String() string { return fmt.Sprintf("%s/%d", id.Boot, id.Cookie) }

// IsZero reports whether id names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// BootID returns the random id that the kernel chose when it booted. It fails
// only where /proc/sys can't be read.
func BootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// cookieHere returns the cookie of the calling thread's network namespace. Any
// socket tells it, to any user. Since Linux 5.14; see sock_getsockopt.
func cookieHere() (uint64, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("getsockopt SO_NETNS_COOKIE: %w", err)
	}
	return cookie, nil
}
