package cidalloc

import (
	"errors"
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

// An opener is a process that has the vhost-vsock device open.
type opener struct {
	pid   int
	args  []string
	cids  []vsock.CID // on its command line; none if that does not say
	space store.Space // of the namespace it is in, see openersOf
	ref   string      // that namespace, as in netns.Open
}

func (o opener) String() string { return fmt.Sprintf("pid %d (%q)", o.pid, shorten(o.args)) }

// openersOf finds the processes that have the vhost-vsock device open. What
// belongs to other users is not seen without root.
//
// An opener's space is that of its namespace. Strictly it is the namespace of the
// thread which opened the device that counts, but that is not on record.
func openersOf() []opener {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []opener
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !opensVhost(pid) {
			continue
		}
		args, err := proc.Cmdline(pid)
		if err != nil {
			continue // gone since
		}
		if p, err := placeOf(fmt.Sprintf("pid:%d", pid)); err == nil {
			found = append(found, opener{pid, args, guestCIDs(args), p.space, p.ref})
			p.close()
		}
	}
	return found
}

// placeOf opens the namespace that ref means. The caller closes it.
func placeOf(ref string) (place, error) {
	ns, err := netns.Open(ref)
	if err != nil {
		return place{}, err
	}
	p, err := linux{}.look(ns)
	if err != nil {
		return place{}, errors.Join(err, ns.Close())
	}
	return p, nil
}

// holder names, of all openers, the one that has c in s. If none says so itself,
// it names those that may have it, and found is false.
func holder(all []opener, s store.Space, c vsock.CID) (words string, found bool) {
	var silent []string
	for _, o := range all {
		switch {
		case o.space != s:
		case slices.Contains(o.cids, c):
			return o.String(), true
		case len(o.cids) == 0:
			silent = append(silent, o.String()+" has a vhost-vsock device with a cid that can't be seen")
		}
	}
	if len(silent) > 0 {
		return anonymous + "; " + strings.Join(silent, "; "), false
	}
	return "", false
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

// shorten returns a command line for people to read.
func shorten(args []string) string {
	line := strings.Join(args, " ")
	if len(line) > maxCommand {
		return strings.ToValidUTF8(line[:maxCommand], "") + "…"
	}
	return line
}
