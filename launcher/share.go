package launcher

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/internal/agentconfig"
)

// A Share is a folder of the host as QEMU offers it to a guest, under a tag.
type Share struct {
	configs.Mount
	Tag  string // of letters and digits
	Type string // configs.MountVirtiofs or Mount9p
	// FD is a socket connected to the virtiofsd that serves the folder.
	FD int
	// Model is how owners of files are kept by 9p: passthrough or none.
	Model string
}

// shareTag is the tag of the i-th mount of a machine.
func shareTag(i int) string { return fmt.Sprintf("mount%d", i) }

// virtiofsDevice is a vhost-user-fs-pci device; see hw/virtio/vhost-user-fs.c in
// QEMU's source.
type virtiofsDevice struct {
	Driver  string `json:"driver"`
	ID      string `json:"id"`
	Chardev string `json:"chardev"`
	Tag     string `json:"tag"`
}

// ninepDevice is a virtio-9p-pci device; see hw/9pfs/virtio-9p-device.c.
type ninepDevice struct {
	Driver string `json:"driver"`
	ID     string `json:"id"`
	FSDev  string `json:"fsdev"`
	Tag    string `json:"mount_tag"`
}

// shareArgs returns the arguments for shares.
func shareArgs(shares []Share) []string {
	var args []string
	for _, s := range shares {
		id := "dev-" + s.Tag
		if s.Type == configs.MountVirtiofs {
			args = append(args,
				"-chardev", fmt.Sprintf("socket,id=%s,fd=%d", s.Tag, s.FD),
				"-device", string(text(virtiofsDevice{"vhost-user-fs-pci", id, s.Tag, s.Tag})))
			continue
		}
		// With more than one file system in the folder, inode numbers are made unique.
		dev := fmt.Sprintf("local,id=%s,path=%s,security_model=%s,multidevs=remap", s.Tag, option(s.Host), s.Model)
		if s.ReadOnly {
			dev += ",readonly=on"
		}
		args = append(args, "-fsdev", dev, "-device", string(text(ninepDevice{"virtio-9p-pci", id, s.Tag, s.Tag})))
	}
	return args
}

// sharedByDaemon reports whether a daemon maps the guest's memory for one of the
// shares.
func sharedByDaemon(shares []Share) bool {
	for _, s := range shares {
		if s.Type == configs.MountVirtiofs {
			return true
		}
	}
	return false
}

// opensFolders reports whether QEMU itself opens the files of one of the shares, by
// their paths and with the owners that the guest asks for: only root can.
func opensFolders(shares []Share) bool {
	for _, s := range shares {
		if s.Type == configs.Mount9p {
			return true
		}
	}
	return false
}

// shareModules returns the kernel modules that a guest needs for shares.
func shareModules(shares []Share) []string {
	var names []string
	for _, s := range shares {
		if s.Type == configs.MountVirtiofs {
			names = append(names, "virtiofs")
		} else {
			names = append(names, "9p", "9pnet_virtio")
		}
	}
	return names
}

// fstab returns a line of fstab(5) for each of the shares: how a guest that has
// systemd mounts them, see fstab.extra in systemd.system-credentials(7).
func fstab(shares []Share) []string {
	var lines []string
	for _, s := range shares {
		kind, options := s.Type, "rw"
		if s.ReadOnly {
			options = "ro"
		}
		if s.Type == configs.Mount9p {
			options += ",trans=virtio,version=9p2000.L"
		}
		lines = append(lines, fmt.Sprintf("%s %s %s %s 0 0", s.Tag, fstabField(s.Guest), kind, options))
	}
	return lines
}

// fstabField writes s as one field of fstab: blanks and what else ends a field or
// begins an escape as \ooo, see getmntent(3).
func fstabField(s string) string {
	return strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`, "#", `\043`).Replace(s)
}

// guestMounts returns what the agent is told about shares. A folder comes before
// those inside it.
func guestMounts(shares []Share) []agentconfig.Mount {
	var mounts []agentconfig.Mount
	for _, s := range shares {
		mounts = append(mounts, agentconfig.Mount{Tag: s.Tag, Type: s.Type, Target: s.Guest, ReadOnly: s.ReadOnly})
	}
	slices.SortFunc(mounts, func(a, b agentconfig.Mount) int { return strings.Compare(a.Target, b.Target) })
	return mounts
}
