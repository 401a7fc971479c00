package main

import (
	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/internal/agentconfig"
)

// folders returns how the folders of the host are mounted. All are needed: a
// machine without one is not the machine that was asked for.
func folders(all []agentconfig.Mount) []mount {
	var table []mount
	for _, f := range all {
		m := mount{source: f.Tag, fstype: f.Type, target: f.Target, needed: true}
		if f.Type == agentconfig.NineP {
			m.data = "trans=virtio,version=9p2000.L"
		}
		if f.ReadOnly {
			m.flags = unix.MS_RDONLY
		}
		table = append(table, m)
	}
	return table
}
