package image

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// A Snapshot is a state of a qcow2 image that is kept within it.
type Snapshot struct {
	Tag         string
	Created     time.Time
	MemoryBytes int64 // of the machine's state that is kept with it; 0 for none
}

// SnapshotInfo is a snapshot as QEMU and qemu-img tell of it; see SnapshotInfo in
// qapi/block-core.json of QEMU's source.
type SnapshotInfo struct {
	Name        string `json:"name"`
	StateBytes  int64  `json:"vm-state-size"`
	Seconds     int64  `json:"date-sec"`
	Nanoseconds int64  `json:"date-nsec"`
}

// Snapshot returns i as a Snapshot.
func (i SnapshotInfo) Snapshot() Snapshot {
	return Snapshot{Tag: i.Name, Created: time.Unix(i.Seconds, i.Nanoseconds), MemoryBytes: i.StateBytes}
}

// Snapshots returns the snapshots in the image at path, which no QEMU has open,
// oldest first. It fails with a [*MissingError] without qemu-img.
func Snapshots(ctx context.Context, path string) ([]Snapshot, error) {
	out, err := qemuImg("look at disk images", "info", "--output=json", "-f", "qcow2", path).run(ctx)
	if err != nil {
		return nil, fmt.Errorf("list snapshots in %q: %w", path, err)
	}
	all, err := parseSnapshots(out)
	if err != nil {
		return nil, fmt.Errorf("list snapshots in %q: %w", path, err)
	}
	return all, nil
}

// parseSnapshots reads what qemu-img info says.
func parseSnapshots(out []byte) ([]Snapshot, error) {
	var info struct {
		Snapshots []SnapshotInfo `json:"snapshots"`
	}
	if err := json.Unmarshal(out, &info); err != nil {
		return nil, fmt.Errorf("read answer of qemu-img %s: %w", strconv.QuoteToASCII(string(out[:min(len(out), 80)])), err)
	}
	var all []Snapshot
	for _, i := range info.Snapshots {
		all = append(all, i.Snapshot())
	}
	return all, nil
}

// CreateSnapshot keeps the state of the image at path, which no QEMU has open, under
// tag. A tag of digits only would be taken for a number of QEMU's own. It fails
// with a [*MissingError] without qemu-img; QEMU itself would keep two of one tag.
func CreateSnapshot(ctx context.Context, path, tag string) error {
	return snapshot(ctx, "create", "-c", path, tag)
}

// RestoreSnapshot puts the image at path back to the state of a snapshot. It fails as
// [CreateSnapshot] does, and if there is none of that tag.
func RestoreSnapshot(ctx context.Context, path, tag string) error {
	return snapshot(ctx, "restore", "-a", path, tag)
}

// DeleteSnapshot forgets a snapshot of the image at path. It fails as
// [RestoreSnapshot] does.
func DeleteSnapshot(ctx context.Context, path, tag string) error {
	return snapshot(ctx, "remove", "-d", path, tag)
}

func snapshot(ctx context.Context, verb, option, path, tag string) error {
	if _, err := qemuImg("keep snapshots", "snapshot", "-q", option, tag, path).run(ctx); err != nil {
		return fmt.Errorf("%s snapshot %q in %q: %w", verb, tag, path, err)
	}
	return nil
}
