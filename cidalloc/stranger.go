package cidalloc

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

const vhostDevice = "/dev/vhost-vsock"

// maxCommand bounds the command line shown of a stranger, in bytes: QEMU's run
// to thousands.
const maxCommand = 120

// guestCID finds the CID in a QEMU argument: guest-cid=42 in a comma list,
// "guest-cid": 42 in JSON. QEMU reads 0x2a as well.
var guestCID = regexp.MustCompile(`guest-cid(?:=|"\s*:\s*"?)(0[xX][0-9a-fA-F]+|[0-9]+)`)

// who finds the process that holds c in p: one with c on its command line, an
// open vhost-vsock device, and a namespace of the same space. What belongs to
// other users is not seen without root.
func (linux) who(p place, c vsock.CID) string {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return ""
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		args, err := proc.Cmdline(pid)
		if err == nil && slices.Contains(guestCIDs(args), c) && opensVhost(pid) && inSpace(pid, p.space) {
			return fmt.Sprintf("pid %d (%q)", pid, shorten(args))
		}
	}
	return ""
}

// guestCIDs returns the CIDs a command line gives to vsock devices.
func guestCIDs(args []string) []vsock.CID {
	var cids []vsock.CID
	for _, arg := range args {
		for _, m := range guestCID.FindAllStringSubmatch(arg, -1) {
			if n, err := strconv.ParseUint(m[1], 0, 32); err == nil {
				cids = append(cids, vsock.CID(n))
			}
		}
	}
	return cids
}

// opensVhost reports whether pid has the vhost-vsock device open.
func opensVhost(pid int) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	fds, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(fds, func(e os.DirEntry) bool {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		return err == nil && target == vhostDevice
	})
}

// inSpace reports whether pid's namespace is in s. Strictly it is the namespace
// of the thread that opened the device which counts, but that is not on record.
func inSpace(pid int, s store.Space) bool {
	ns, err := netns.Open(fmt.Sprintf("pid:%d", pid))
	if err != nil {
		return false
	}
	defer ns.Close()
	m, err := ns.Mode()
	return err == nil && store.SpaceOf(ns.ID(), m) == s
}

// shorten returns a command line for people to read.
func shorten(args []string) string {
	line := strings.Join(args, " ")
	if len(line) > maxCommand {
		return strings.ToValidUTF8(line[:maxCommand], "") + "…"
	}
	return line
}
