package cidalloc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// A RowState is what the ledger says of a CID.
type RowState string

// The states of a row.
const (
	Leased  RowState = "leased"  // a machine's
	Cooling RowState = "cooling" // free, but not yet given out unasked
	Foreign RowState = "foreign" // a stranger's

	Reserved RowState = "reserved" // kept for a machine that does not have it now, or from all of ours

	Host RowState = "host" // this host's own, which is a guest: none of its guests can have it
	Free RowState = "free" // nobody's
)

// A Row is one CID of the ledger, or one that a process has without the ledger
// knowing it, for listings.
type Row struct {
	CID     vsock.CID   `json:"cid"` // 0 if a process has one that can't be seen
	Space   store.Space `json:"space"`
	Mode    vsock.Mode  `json:"mode"`
	State   RowState    `json:"state"`
	Machine string      `json:"machine,omitempty"` // the owner, or of a cooling CID the last one
	Netns   string      `json:"netns,omitempty"`   // where the owner lives, as in netns.Open; "" is vmlaunch's own
	PID     int         `json:"pid,omitempty"`     // the owner's QEMU, if it runs; or a stranger
	Holder  string      `json:"holder,omitempty"`  // a stranger, as far as known
	Since   time.Time   `json:"since,omitzero"`    // taken, freed, last met, or reserved

	ReservedFor string `json:"reserved_for,omitempty"` // the machine it is reserved for
	Note        string `json:"note,omitempty"`         // of its reservation
	Held        *bool  `json:"held,omitempty"`         // the kernel says that somebody has it; nil if it was not asked
}

// Rows returns the ledger, by space and CID: what is owned, and if all is set
// also what is cooling. It fails as [store.Store.View] does.
func (a *Allocator) Rows(ctx context.Context, all bool) ([]Row, error) {
	var rows []Row
	err := a.store.View(ctx, func(tx *store.Tx) error {
		leases, err := tx.AllLeases()
		if err != nil {
			return err
		}
		for _, l := range leases {
			row, err := rowOf(tx, l)
			if err != nil {
				return err
			}
			if !stale(l, a.now()) && (all || row.State != Cooling) {
				rows = append(rows, row)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list cids: %w", err)
	}
	return rows, nil
}

// rowOf returns the row of l.
func rowOf(tx *store.Tx, l store.Lease) (Row, error) {
	row := Row{CID: l.CID, Space: l.Space, Mode: l.Space.Mode()}
	if l.Reserved != nil {
		row.ReservedFor, row.Note = l.Reserved.For, l.Reserved.Note
	}
	switch {
	case l.Foreign != "":
		row.State, row.Holder, row.Since = Foreign, l.Foreign, l.Seen
		return row, nil
	case l.Machine == "" && l.Reserved != nil:
		row.State, row.Since = Reserved, l.Reserved.Since
		return row, nil
	case l.Machine == "":
		row.State, row.Machine, row.Since = Cooling, l.Last, l.Freed
		return row, nil
	}
	row.State, row.Machine, row.Since = Leased, l.Machine, l.Taken
	m, err := tx.Machine(l.Machine)
	if errors.Is(err, fs.ErrNotExist) {
		return row, nil // a lease that a crash left behind; the launcher's to repair
	}
	if err != nil {
		return Row{}, err
	}
	row.Netns = m.Netns.Ref
	if m.QEMU.Alive() {
		row.PID = m.QEMU.PID
	}
	return row, nil
}
