package command

import (
	"errors"
	"fmt"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/store"
)

func newState(a *app) *cobra.Command {
	return group("state", "The state file itself: is it sound, copies of it, what it says",
		newStateCheck(a), newStateBackup(a), newStateRestore(a), newStateDump(a))
}

// stateJSON is the state file as `state check` prints it.
type stateJSON struct {
	Path     string   `json:"path"`
	Schema   uint32   `json:"schema"` // 0 if there is no file, or none could be read
	Bytes    int      `json:"bytes"`
	Machines int      `json:"machines"`
	Netnses  int      `json:"netns"`
	Leases   int      `json:"leases"`
	Damage   []string `json:"damage"`
}

func newStateCheck(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "check",
		Short:             "Is every page, record and index of the state file sound?",
		Args:              noArgs,
		ValidArgsFunction: noCompletion,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, sv, err := a.salvage(cmd)
			if err != nil {
				return err
			}
			c := stateJSON{
				Path: s.Path(), Schema: sv.Schema, Bytes: sv.Bytes,
				Machines: len(sv.Machines), Netnses: len(sv.Netnses), Leases: len(sv.Leases), Damage: []string{},
			}
			for _, err := range sv.Damage {
				c.Damage = append(c.Damage, err.Error())
			}
			err = a.print(report{
				data: c,
				head: []string{"MACHINES", "NETNS", "LEASES", "SCHEMA", "SIZE", "DAMAGE", "PATH"},
				wide: 1,
				rows: [][]string{{
					fmt.Sprint(c.Machines), fmt.Sprint(c.Netnses), fmt.Sprint(c.Leases), number(c.Schema),
					units.BytesSize(float64(c.Bytes)), fmt.Sprint(len(c.Damage)), c.Path,
				}},
				name: func(int) string { return c.Path },
			})
			return errors.Join(append([]error{err}, sv.Damage...)...)
		},
	}
}

// salvage reads what can be read of the state file.
func (a *app) salvage(cmd *cobra.Command) (*store.Store, store.Salvage, error) {
	s, err := a.store()
	if err != nil {
		return nil, store.Salvage{}, err
	}
	sv, err := s.Salvage(cmd.Context())
	return s, sv, err
}
