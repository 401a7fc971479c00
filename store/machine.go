package store

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// A Machine is what is known of one VM from its creation to its removal. What is
// true of it now is for the launcher to find out.
type Machine struct {
	Name string          `json:"name"`
	UUID string          `json:"uuid,omitempty"` // QEMU's -uuid, to know it again
	Spec configs.Machine `json:"spec"`

	Netns NetnsRef  `json:"netns,omitzero"`
	Space Space     `json:"space,omitempty"`
	CID   vsock.CID `json:"cid,omitempty"` // kept over a stop: the next start asks for it again

	Phase Phase  `json:"phase"`
	Cause string `json:"cause,omitempty"` // why Phase is Failed

	Boot     string  `json:"boot,omitempty"` // the boot Phase was written in
	QEMU     proc.ID `json:"qemu,omitzero"`
	Launcher proc.ID `json:"launcher,omitzero"` // who is at work on it, while starting or stopping
	RunDir   string  `json:"run_dir,omitempty"`

	NICs []NIC  `json:"nics,omitempty"` // of its last start, in the order of the spec's networks
	UID  uint32 `json:"uid,omitempty"`  // that QEMU runs as, if it is one of its own

	NotifyPort uint32 `json:"notify_port,omitempty"` // vsock port on which the guest says that it is ready

	Created time.Time `json:"created,omitzero"`
	Started time.Time `json:"started,omitzero"`
	Ready   time.Time `json:"ready,omitzero"`
	Stopped time.Time `json:"stopped,omitzero"`
}

// A NetnsRef says which namespace a machine lives in.
type NetnsRef struct {
	Ref     string     `json:"ref,omitempty"` // as in netns.Open; "" is the one vmlaunch itself runs in
	ID      netns.ID   `json:"id,omitzero"`
	Mode    vsock.Mode `json:"mode,omitzero"`     // when last looked at
	Created bool       `json:"created,omitempty"` // made for this machine, to be removed with it
}

// A NIC is one of a machine's network devices as it was last started.
type NIC struct {
	Kind    string       `json:"kind"` // that of its configs.Network
	MAC     string       `json:"mac"`
	Address netip.Prefix `json:"address,omitzero"` // the guest's, where the host knows it
	Gateway netip.Addr   `json:"gateway,omitzero"`
	DNS     netip.Addr   `json:"dns,omitzero"`
	Bridge  string       `json:"bridge,omitempty"` // that the tap is on
	Tap     string       `json:"tap,omitempty"`    // in the machine's namespace
}

// A Phase is what was last done to a machine.
type Phase string

// The phases in the order a machine goes through them.
const (
	Created  Phase = "created"
	Starting Phase = "starting"
	Running  Phase = "running"
	Stopping Phase = "stopping"
	Stopped  Phase = "stopped"
	Failed   Phase = "failed"
	Removing Phase = "removing"
)

func (m Machine) key() string { return m.Name }

func (m Machine) check() error {
	if m.Name == "" {
		return errors.New("no name")
	}
	switch m.Phase {
	case Created, Starting, Running, Stopping, Stopped, Failed, Removing:
	default:
		return fmt.Errorf("phase is %q", m.Phase)
	}
	if m.Space != "" {
		return m.Space.check()
	}
	return nil
}

func machineShelf() shelf[Machine] {
	return shelf[Machine]{
		path:   []string{bucketMachine},
		object: func(key string) string { return fmt.Sprintf("machine %q", key) },
	}
}

// Machine returns the machine called name. It fails with [fs.ErrNotExist].
func (tx *Tx) Machine(name string) (Machine, error) { return machineShelf().get(tx, name) }

// Machines returns all machines, by name. It fails with [ErrCorrupt].
func (tx *Tx) Machines() ([]Machine, error) { return machineShelf().all(tx) }

// CreateMachine records m. It fails with [fs.ErrExist] if there is one of that
// name.
func (tx *Tx) CreateMachine(m Machine) error {
	switch _, err := tx.Machine(m.Name); {
	case err == nil:
		return &recordError{machineShelf().object(m.Name), fs.ErrExist}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return tx.PutMachine(m)
}

// PutMachine records m in place of what was recorded under its name. It fails if
// m has no name or no phase, and in a view.
func (tx *Tx) PutMachine(m Machine) error { return machineShelf().put(tx, m) }

// DeleteMachine forgets the machine called name; none is fine. It fails in a
// view.
func (tx *Tx) DeleteMachine(name string) error { return machineShelf().delete(tx, name) }
