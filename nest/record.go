package nest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/internal/proc"
)

// A record is what one nest's folder says about it. Whether it runs is never
// read from here but asked of the kernel, by the process's identity.
type record struct {
	Kernel    string     `json:"kernel"` // uname -r in it
	QEMU      proc.ID    `json:"qemu"`
	MemoryMiB int        `json:"memoryMiB"`
	CPUs      int        `json:"cpus"`
	OwnCID    uint32     `json:"ownCID,omitempty"`
	Started   time.Time  `json:"started"`
	Port      int        `json:"port"` // of 127.0.0.1, leads to the agent
	Keys      guest.Keys `json:"keys"`
	Binary    string     `json:"binary,omitempty"` // digest of the vmlaunch in it
	Ready     bool       `json:"ready"`            // the agent has answered once
}

const recordFile = "nest.json"

// readRecord returns the record in dir. It fails with [fs.ErrNotExist] if there
// is none, and if it can't be read: then the folder is cleared by the next Up.
func readRecord(dir string) (record, error) {
	var r record
	b, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return record{}, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return record{}, fmt.Errorf("%s: %w", filepath.Join(dir, recordFile), err)
	}
	return r, nil
}

// write puts the record in dir as a whole or not at all. Only the owner can
// read it: it holds the key that lets one in.
func (r record) write(dir string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, "."+recordFile)
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return os.Rename(tmp, filepath.Join(dir, recordFile))
}

// A state is what is true of a nest's folder and its QEMU right now.
type state int

const (
	absent  state = iota + 1 // no nest
	running                  // QEMU runs and the agent had answered
	broken                   // what a killed Up or a dead QEMU has left
)

// look tells the true state: of what the folder holds, and of whether the
// recorded process is alive.
func look(dir string, alive func(proc.ID) bool) (record, state) {
	r, err := readRecord(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return record{}, absent
		}
		return record{}, broken
	case err != nil || !r.Ready || !alive(r.QEMU):
		return r, broken
	}
	return r, running
}
