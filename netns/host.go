package netns

import (
	"fmt"

	"github.com/vmlaunch/vmlaunch/vsock"
)

// A HostState is what the namespace this process is in allows, as of now.
type HostState struct {
	Modes     bool       // namespaces of this kernel have a vsock mode
	Mode      vsock.Mode // of the namespace this process is in
	ChildMode vsock.Mode // what its children get without further ado
	Global    error      // why no global namespace can be made, or nil
	Local     error      // why no local namespace can be made, or nil
}

// Host looks at the namespace this process is in, and tries what it may: it
// makes namespaces that are gone at once. It fails if the namespace can't be
// looked at; that a mode can't be had is an answer.
func Host() (HostState, error) {
	s, err := look()
	if err != nil {
		return HostState{}, fmt.Errorf("look at this host: %w", err)
	}
	s.Global = try(vsock.Global)
	s.Local = try(vsock.Local)
	return s, nil
}

func look() (HostState, error) {
	f, err := openFile(ownPath)
	if err != nil {
		return HostState{}, err
	}
	defer f.Close()
	var s HostState
	own := &NS{f: f}
	err = own.Do(func() (err error) {
		if s.Modes, err = vsock.Modes(); err != nil {
			return err
		}
		if s.Mode, err = vsock.ModeHere(); err != nil {
			return err
		}
		s.ChildMode, err = vsock.ChildMode()
		return err
	})
	return s, err
}

// try reports why no namespace of mode m can be made.
func try(m vsock.Mode) error {
	if err := canHave(m); err != nil {
		return err
	}
	f, err := bear(m)
	if err != nil {
		return createError(err)
	}
	return f.Close()
}
