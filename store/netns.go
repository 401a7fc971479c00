package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// A Netns is a namespace that vmlaunch made.
type Netns struct {
	Name    string     `json:"name"`
	ID      netns.ID   `json:"id,omitzero"`
	Mode    vsock.Mode `json:"mode,omitzero"`
	Created time.Time  `json:"created,omitzero"`
	Lab     string     `json:"lab,omitempty"` // the copy of a lab that it was made for
	Pending bool       `json:"pending,omitempty"` // it is being made or removed
}

func (n Netns) key() string { return n.Name }

func (n Netns) check() error {
	if n.Name == "" {
		return errors.New("no name")
	}
	return nil
}

func netnsShelf() shelf[Netns] {
	return shelf[Netns]{
		path:   []string{bucketNetns},
		object: func(key string) string { return fmt.Sprintf("netns %q", key) },
	}
}

// Netns returns the namespace called name, if vmlaunch made it. It fails with
// [fs.ErrNotExist].
func (tx *Tx) Netns(name string) (Netns, error) { return netnsShelf().get(tx, name) }

// Netnses returns all namespaces that vmlaunch made, by name. It fails with
// [ErrCorrupt].
func (tx *Tx) Netnses() ([]Netns, error) { return netnsShelf().all(tx) }

// PutNetns records n in place of what was recorded under its name. It fails if n
// has no name, and in a view.
func (tx *Tx) PutNetns(n Netns) error { return netnsShelf().put(tx, n) }

// DeleteNetns forgets the namespace called name; none is fine. It fails in a
// view.
func (tx *Tx) DeleteNetns(name string) error { return netnsShelf().delete(tx, name) }
