package launcher

import (
	"context"
	"fmt"

	"github.com/vmlaunch/vmlaunch/store"
)

// A staleLease is one that belongs to nobody any more.
type staleLease struct {
	lease store.Lease
	why   string
	space bool // with its whole space
}

// staleLeases finds leases whose machine is not there or has another CID, and
// spaces that went with an earlier boot. A machine keeps its number over a
// restart of the host all the same: its record has it.
func staleLeases(tx *store.Tx, boot string) ([]staleLease, error) {
	spaces, err := tx.Spaces()
	if err != nil {
		return nil, err
	}
	machines, err := tx.Machines()
	if err != nil {
		return nil, err
	}
	byName := make(map[string]store.Machine, len(machines))
	for _, m := range machines {
		byName[m.Name] = m
	}
	var stale []staleLease
	for _, s := range spaces {
		if id := s.ID(); !id.IsZero() && id.Boot != boot {
			stale = append(stale, staleLease{store.Lease{Space: s}, restarted, true})
			continue
		}
		leases, err := tx.Leases(s)
		if err != nil {
			return nil, err
		}
		for _, l := range leases {
			m, there := byName[l.Machine]
			if l.Machine != "" && (!there || m.CID != l.CID || m.Space != l.Space) {
				stale = append(stale, staleLease{l, fmt.Sprintf("machine %q does not have it", l.Machine), false})
			}
		}
	}
	return stale, nil
}

// restarted is why all that is of an earlier boot is gone.
const restarted = "the host was restarted"

// audit puts right what no verb of ours leaves behind, but a restart of the host
// does, or whoever changed the file behind us: leases that belong to nobody, and
// spaces and namespaces of an earlier boot. It reads all of the file, so it is
// done once a boot.
func (l *Launcher) audit(ctx context.Context, boot string) ([]Repair, error) {
	var done []Repair
	err := l.Store.Update(ctx, func(tx *store.Tx) (err error) {
		if done, err = l.auditIn(tx, boot); err != nil {
			return err
		}
		return tx.SetBoot(boot)
	})
	if err != nil {
		return nil, fmt.Errorf("audit the ledger: %w", err)
	}
	return done, nil
}

func (l *Launcher) auditIn(tx *store.Tx, boot string) ([]Repair, error) {
	var done []Repair
	stale, err := staleLeases(tx, boot)
	if err != nil {
		return nil, err
	}
	for _, s := range stale {
		what := fmt.Sprintf("free cid %d in space %s", s.lease.CID, s.lease.Space)
		if s.space {
			what = fmt.Sprintf("forget space %s", s.lease.Space)
			err = tx.DeleteSpace(s.lease.Space)
		} else {
			err = l.Alloc.Free(tx, s.lease.Space, s.lease.CID, s.lease.Machine)
		}
		if err != nil {
			return nil, err
		}
		done = append(done, Repair{What: what, Why: s.why})
	}
	netnses, err := tx.Netnses()
	if err != nil {
		return nil, err
	}
	for _, n := range netnses {
		if n.ID.Boot == boot {
			continue
		}
		if err := tx.DeleteNetns(n.Name); err != nil {
			return nil, err
		}
		done = append(done, Repair{What: fmt.Sprintf("forget netns %q", n.Name), Why: restarted})
	}
	return done, l.Alloc.Sweep(tx)
}
