package command

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

func newNetns(a *app) *cobra.Command {
	return group("netns", "Network namespaces and their vsock mode",
		newNetnsCreate(a), newNetnsLs(a), newNetnsInspect(a), newNetnsExec(a), newNetnsRm(a))
}

// netnsJSON is a namespace as `netns ls` and `netns inspect` print it.
type netnsJSON struct {
	Name     string     `json:"name"` // "" is the host's own
	ID       netns.ID   `json:"id"`
	Mode     vsock.Mode `json:"mode"`
	Ours     bool       `json:"made_by_vmlaunch"`
	Created  time.Time  `json:"created,omitzero"` // if vmlaunch made it
	Machines []string   `json:"machines"`
	Procs    []int      `json:"processes,omitempty"` // netns inspect only
}

// netnsRecords are what the state file says about namespaces.
type netnsRecords struct {
	made     map[string]store.Netns
	machines []store.Machine
}

func (a *app) netnsRecords(ctx context.Context) (netnsRecords, error) {
	r := netnsRecords{made: map[string]store.Netns{}}
	s, err := a.store()
	if err != nil {
		return r, err
	}
	err = s.View(ctx, func(tx *store.Tx) error {
		all, err := tx.Netnses()
		if err != nil {
			return err
		}
		for _, n := range all {
			r.made[n.Name] = n
		}
		r.machines, err = tx.Machines()
		return err
	})
	return r, err
}

// look opens the namespace ref and says what is true of it now.
func (r netnsRecords) look(ref string) (netnsJSON, error) {
	ns, err := netns.Open(ref)
	if err != nil {
		return netnsJSON{}, err
	}
	defer ns.Close()
	mode, err := ns.Mode()
	if err != nil {
		return netnsJSON{}, err
	}
	n := netnsJSON{Name: ns.Ref(), ID: ns.ID(), Mode: mode, Machines: r.machinesIn(ns.ID())}
	if made, ok := r.made[ref]; ok && made.ID == n.ID {
		n.Ours, n.Created = true, made.Created
	}
	return n, nil
}

func (r netnsRecords) machinesIn(id netns.ID) []string {
	names := []string{}
	for _, m := range r.machines {
		if m.Netns.ID == id {
			names = append(names, m.Name)
		}
	}
	return names
}
