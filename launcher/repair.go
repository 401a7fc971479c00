package launcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/vmlaunch/vmlaunch/store"
)

// errDry takes a change of the state file back that was only tried.
var errDry = errors.New("nothing is to be changed")

// Repair holds the state file against everything else: the cards that launches
// leave, processes, namespaces, and the kernel's answer about CIDs. It adopts
// machines and namespaces of which there is no record, forgets what is gone, and
// does what [Launcher.Reconcile] does. A file that is damaged it makes anew from
// what can be read of it and of the cards; the old one stays beside it. Nothing
// that runs is harmed: what a verb is at work on is left alone. With dry set it
// changes nothing, and tells what it would do.
//
// It fails as store.Store.Salvage does, with [*store.SchemaError] for the file of
// a newer vmlaunch, and with what it could not repair, beside what it did.
func (l *Launcher) Repair(ctx context.Context, dry bool) ([]Repair, error) {
	s, err := l.survey(ctx)
	if err != nil {
		return nil, fmt.Errorf("repair: %w", err)
	}
	defer s.close()
	changes := reckon(s.seen)
	done, err := l.rewrite(ctx, s.seen, changes, dry)
	if err != nil {
		return nil, fmt.Errorf("repair: %w", err)
	}
	if dry {
		return append(done, l.foresee(s.seen, changes)...), nil
	}
	more, err := l.Reconcile(ctx)
	return append(done, more...), err
}

// rewrite makes the changes, and the audit of all that stands then, in one
// transaction: in the file there is, or in a new one in place of a damaged one.
func (l *Launcher) rewrite(ctx context.Context, s seen, changes []change, dry bool) (done []Repair, err error) {
	if _, err := os.Stat(l.Store.Path()); errors.Is(err, fs.ErrNotExist) && (dry || len(changes) == 0) {
		for _, c := range changes { // and no file is made
			done = append(done, c.Repair)
		}
		return done, nil
	}
	write := func(tx *store.Tx) (err error) {
		if done, err = l.rewriteIn(tx, s, changes); err == nil && dry {
			err = errDry
		}
		return err
	}
	if s.damaged() {
		var kept string
		kept, err = l.Store.Rebuild(ctx, write)
		done = append([]Repair{{What: "make the state file anew", Why: keptAs(s.said.Damage[0], kept)}}, done...)
	} else {
		err = l.Store.Update(ctx, write)
	}
	if errors.Is(err, errDry) {
		err = nil
	}
	return done, err
}

func (l *Launcher) rewriteIn(tx *store.Tx, s seen, changes []change) (done []Repair, err error) {
	if s.damaged() {
		if done, err = l.restore(tx, s); err != nil {
			return nil, err
		}
	}
	for _, c := range changes {
		if !c.proven() {
			continue
		}
		if err := l.apply(tx, c); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Repair, err)
		}
		done = append(done, c.Repair)
	}
	stale, err := l.auditIn(tx, s.boot)
	if err != nil {
		return nil, err
	}
	return append(done, stale...), tx.SetBoot(s.boot)
}

func keptAs(damage error, kept string) string {
	if kept == "" {
		return damage.Error()
	}
	return fmt.Sprintf("%v (the old one is kept as %s)", damage, kept)
}

// restore writes into a new file what could be read of the damaged one. Where
// two leases contradict each other the one that a machine's record has wins.
func (l *Launcher) restore(tx *store.Tx, s seen) ([]Repair, error) {
	var errs []error
	has := map[claimed]string{}
	for _, m := range s.said.Machines {
		errs = append(errs, tx.PutMachine(m))
		has[claimed{m.Space, m.CID}] = m.Name
	}
	for _, n := range s.said.Netnses {
		errs = append(errs, tx.PutNetns(n))
	}
	var done []Repair
	for _, lease := range s.said.Leases {
		if lease.Machine != "" && has[claimed{lease.Space, lease.CID}] != lease.Machine {
			what := fmt.Sprintf("free cid %d in space %s", lease.CID, lease.Space)
			done = append(done, Repair{What: what, Why: fmt.Sprintf("machine %q does not have it", lease.Machine)})
			continue
		}
		if err := tx.PutLease(lease); err != nil { // a second reservation for one machine
			done = append(done, Repair{What: fmt.Sprintf("forget cid %d in space %s", lease.CID, lease.Space), Why: err.Error()})
		}
	}
	return done, errors.Join(errs...)
}

// apply makes one change.
func (l *Launcher) apply(tx *store.Tx, c change) error {
	switch {
	case c.adopt != nil:
		if err := tx.PutMachine(*c.adopt); err != nil || !c.lease {
			return err
		}
		return l.lease(tx, *c.adopt)
	case c.netns != nil:
		return tx.PutNetns(*c.netns)
	case c.gone != nil:
		if err := forgetSpace(tx, c.gone.ID); err != nil {
			return err
		}
		return tx.DeleteNetns(c.gone.Name)
	case c.forget != nil:
		return tx.DeleteLease(c.forget.Space, c.forget.CID)
	}
	return nil
}

// lease makes m's CID its own, whoever had it in the ledger.
func (l *Launcher) lease(tx *store.Tx, m store.Machine) error {
	had, err := tx.Owned(m.Space, m.Name)
	if err != nil {
		return err
	}
	if had != 0 && had != m.CID {
		if err := l.Alloc.Free(tx, m.Space, had, m.Name); err != nil {
			return err
		}
	}
	old, err := tx.Lease(m.Space, m.CID)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lease := store.Lease{CID: m.CID, Space: m.Space, Machine: m.Name, Taken: time.Now()}
	if old.Reserved != nil && old.Reserved.For == m.Name {
		lease.Reserved = old.Reserved
	}
	if lease.Generation, err = tx.Generation(); err != nil {
		return err
	}
	return tx.PutLease(lease)
}

// foresee tells what [Launcher.Reconcile] would do with the machines after the
// changes.
func (l *Launcher) foresee(s seen, changes []change) []Repair {
	adopted := map[string]bool{}
	for _, c := range changes {
		if c.adopt != nil {
			adopted[c.adopt.Name] = true
		}
	}
	var all []Repair
	for _, m := range s.said.Machines {
		if r, why := diagnose(m, l.see(m, l.atWork(m.Name))); r != leave && !adopted[m.Name] {
			all = append(all, Repair{m.Name, r.String(), why})
		}
	}
	for _, n := range s.said.Netnses {
		if n.Pending && !s.busy["netns "+n.Name] {
			all = append(all, Repair{What: fmt.Sprintf("remove netns %q, if no machine is in it", n.Name), Why: halfDone})
		}
	}
	return all
}
