package agentconfig

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// The types of file system that a [Mount] can have.
const (
	Virtiofs = "virtiofs"
	NineP    = "9p"
)

// A Mount is a folder of the host that the agent mounts before it serves.
type Mount struct {
	Tag      string `json:"tag"` // what the device calls it
	Type     string `json:"type"`
	Target   string `json:"target"` // made if it is not there
	ReadOnly bool   `json:"readOnly,omitempty"`
}

func (m Mount) validate() error {
	switch {
	case m.Tag == "":
		return errors.New("tag is missing")
	case m.Type != Virtiofs && m.Type != NineP:
		return fmt.Errorf("type %q: want %s or %s", m.Type, Virtiofs, NineP)
	case !path.IsAbs(m.Target) || path.Clean(m.Target) != m.Target || strings.ContainsRune(m.Target, 0):
		return fmt.Errorf("target %q: want an absolute, clean path", m.Target)
	}
	return nil
}
