package launcher

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vmlaunch/vmlaunch/image"
	"github.com/vmlaunch/vmlaunch/qmp"
)

// jobWait bounds a job that writes or reads the memory of a machine: 64 GiB at
// what a slow disk takes, 100 MB/s.
const jobWait = 15 * time.Minute

// A liveShelf is of a machine that runs.
type liveShelf struct {
	images []keeper
	qemu   *qmp.Client
}

func (s liveShelf) list(ctx context.Context) ([]image.Snapshot, error) {
	var nodes []struct {
		Node  string `json:"node-name"`
		Image struct {
			Snapshots []image.SnapshotInfo `json:"snapshots"`
		} `json:"image"`
	}
	if err := s.qemu.Execute(ctx, "query-named-block-nodes", map[string]bool{"flat": true}, &nodes); err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var all []image.Snapshot
	for _, n := range nodes {
		for _, i := range n.Image.Snapshots {
			if n.Node == s.images[0].node {
				all = append(all, i.Snapshot())
			}
		}
	}
	return all, nil
}

func (s liveShelf) nodes() []string {
	var names []string
	for _, k := range s.images {
		names = append(names, k.node)
	}
	return names
}

// snapshotJob are the arguments of QEMU's jobs about snapshots; see
// qapi/migration.json of its source, since QEMU 6.0.
type snapshotJob struct {
	ID      string   `json:"job-id"`
	Tag     string   `json:"tag"`
	Memory  string   `json:"vmstate,omitempty"` // node that keeps it
	Devices []string `json:"devices"`
}

// jobInfo is how a job ended; see JobInfo in qapi/job.json of QEMU's source.
type jobInfo struct {
	ID    string `json:"id"`
	Error string `json:"error"` // "" if it went well
}

func (s liveShelf) create(ctx context.Context, tag string, memory bool) error {
	if memory {
		if err := s.job(ctx, "snapshot-save", tag, s.images[0].node); err != nil {
			return fmt.Errorf("%w (without its memory: --disk-only)", err)
		}
		return nil
	}
	type action struct {
		Type string            `json:"type"`
		Data map[string]string `json:"data"`
	}
	var all []action
	for _, node := range s.nodes() {
		all = append(all, action{"blockdev-snapshot-internal-sync", map[string]string{"device": node, "name": tag}})
	}
	return s.qemu.Execute(ctx, "transaction", map[string]any{"actions": all}, nil)
}

func (s liveShelf) restore(ctx context.Context, tag string) error {
	return s.job(ctx, "snapshot-load", tag, s.images[0].node)
}

func (s liveShelf) remove(ctx context.Context, tag string) error {
	return s.job(ctx, "snapshot-delete", tag, "")
}

// job runs one of QEMU's jobs about snapshots to its end. When ctx ends QEMU goes
// on with it all the same.
func (s liveShelf) job(ctx context.Context, command, tag, memory string) error {
	ctx, cancel := context.WithTimeout(ctx, jobWait)
	defer cancel()
	events := s.qemu.Subscribe()
	j := snapshotJob{ID: "vmlaunch-" + newUUID(), Tag: tag, Memory: memory, Devices: s.nodes()}
	if err := s.qemu.Execute(ctx, command, j, nil); err != nil {
		return err
	}
	for concluded := false; !concluded; {
		e, err := events.Next(ctx)
		if err != nil {
			return fmt.Errorf("qmp %s: wait for its end: %w", command, err)
		}
		concluded = e.Event == "JOB_STATUS_CHANGE" && e.Data["id"] == j.ID && e.Data["status"] == "concluded"
	}
	var jobs []jobInfo
	if err := s.qemu.Execute(ctx, "query-jobs", nil, &jobs); err != nil {
		return err
	}
	i := slices.IndexFunc(jobs, func(q jobInfo) bool { return q.ID == j.ID })
	if err := s.qemu.Execute(ctx, "job-dismiss", map[string]string{"id": j.ID}, nil); err != nil {
		return err
	}
	if i >= 0 && jobs[i].Error != "" {
		return fmt.Errorf("qmp %s: %s", command, line([]byte(jobs[i].Error)))
	}
	return nil
}
