package cidalloc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// Map returns what there is on this host: the ledger with all that is cooling,
// this host's own CID, and the processes that have a vhost-vsock device open and
// are none of ours; each with the kernel's answer whether somebody has the CID
// now. Without root only this user's processes are seen. It claims nothing but
// where [vsock.Claimed] must. It fails as [Allocator.Rows] does, and if the kernel
// can't be asked.
//
// Where this host has no device, or a space has no namespace that can be found,
// the kernel is not asked.
func (a *Allocator) Map(ctx context.Context) ([]Row, error) {
	openers, places, err := a.host.survey()
	defer func() {
		for _, p := range places {
			p.close()
		}
	}()
	if err != nil {
		return nil, fmt.Errorf("map cids: %w", err)
	}
	rows, err := a.Rows(ctx, true)
	if err != nil {
		return nil, err
	}
	ours, err := a.ours(ctx)
	if err != nil {
		return nil, fmt.Errorf("map cids: %w", err)
	}
	rows = addOpeners(rows, slices.DeleteFunc(openers, func(o opener) bool { return ours[o.pid] }))
	switch own, err := a.host.own(); {
	case err != nil:
		return nil, fmt.Errorf("map cids: %w", err)
	case own != vsock.Any:
		rows = append(rows, Row{CID: own, Space: store.Global, Mode: vsock.Global, State: Host, Holder: thisHost})
	}
	slices.SortStableFunc(rows, func(a, b Row) int {
		if a.Space != b.Space {
			return cmp.Compare(a.Space, b.Space)
		}
		return cmp.Compare(a.CID, b.CID)
	})
	if err := a.ask(rows, places); err != nil {
		return nil, fmt.Errorf("map cids: %w", err)
	}
	return rows, nil
}

// ours returns the processes of our machines: their QEMUs, and the vmlaunches at
// work on them.
func (a *Allocator) ours(ctx context.Context) (map[int]bool, error) {
	pids := map[int]bool{}
	err := a.store.View(ctx, func(tx *store.Tx) error {
		machines, err := tx.Machines()
		for _, m := range machines {
			if m.QEMU.Alive() {
				pids[m.QEMU.PID] = true
			}
			if m.Launcher.Alive() {
				pids[m.Launcher.PID] = true
			}
		}
		return err
	})
	return pids, err
}

// addOpeners adds strangers to the ledger's rows. One whom the ledger has met
// becomes the same row.
func addOpeners(rows []Row, openers []opener) []Row {
	for _, o := range openers {
		cids := o.cids
		if len(cids) == 0 {
			cids = []vsock.CID{0}
		}
		for _, c := range cids {
			r := Row{CID: c, Space: o.space, Mode: o.space.Mode(), State: Foreign, Netns: o.ref, PID: o.pid, Holder: o.String()}
			i := slices.IndexFunc(rows, func(m Row) bool {
				return m.State == Foreign && m.Space == r.Space && m.CID == c && c != 0 && m.PID == 0
			})
			if i < 0 {
				rows = append(rows, r)
				continue
			}
			r.Since = rows[i].Since
			rows[i] = r
		}
	}
	return rows
}

// ask writes the kernel's answer into each row, as seen from its space's place.
func (a *Allocator) ask(rows []Row, places []place) error {
	for _, p := range places {
		var cids []vsock.CID
		var at []int
		for i, r := range rows {
			if r.Space == p.space && r.CID != 0 {
				cids, at = append(cids, r.CID), append(at, i)
			}
		}
		if len(cids) == 0 {
			continue
		}
		answers, err := a.host.claimed(p, cids...)
		if errors.Is(err, errors.ErrUnsupported) {
			return nil // no device: nobody can hold a CID
		}
		if err != nil {
			return err
		}
		for i, held := range answers {
			rows[at[i]].Held = &held
		}
	}
	return nil
}
