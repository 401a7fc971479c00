package launcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/vmlaunch/vmlaunch/store"
)

// cardName is the file with a copy of a machine's record, in its run folder and
// in its state folder. [Launcher.Repair] reads it where the state file is gone.
// What is true of the machine now is not in it.
const cardName = "machine.json"

// keepCard writes m's card into those of its folders that are there.
func (l *Launcher) keepCard(m store.Machine) error {
	f := l.folder(m.Name)
	for _, dir := range []string{f.run, f.state} {
		if err := writeCard(filepath.Join(dir, cardName), m); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("write card of machine %q: %w", m.Name, err)
		}
	}
	return nil
}

// netnsCard is where the card of the namespace called name lies: among what is
// worthless after a restart of the host, as the namespace is.
func (l *Launcher) netnsCard(name string) string {
	return filepath.Join(l.Dirs.Run, ".netns", name+".json")
}

func (l *Launcher) keepNetnsCard(n store.Netns) error {
	path := l.netnsCard(n.Name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write card of netns %q: %w", n.Name, err)
	}
	if err := writeCard(path, n); err != nil {
		return fmt.Errorf("write card of netns %q: %w", n.Name, err)
	}
	return nil
}

// dropNetnsCard removes the card of the namespace called name, also one that was
// written half; none is fine.
func (l *Launcher) dropNetnsCard(name string) error {
	path := l.netnsCard(name)
	for _, p := range []string{path, draftOf(path)} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove card of netns %q: %w", name, err)
		}
	}
	return nil
}

// writeCard writes v at path, whole or not at all.
func writeCard(path string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeWhole(path, text)
}

// writeWhole writes a file that is for this user only, whole or not at all.
func writeWhole(path string, text []byte) error {
	draft := draftOf(path)
	if err := os.WriteFile(draft, text, 0o600); err != nil {
		return err
	}
	return os.Rename(draft, path)
}

func draftOf(path string) string { return path + ".new" }

// readCards reads the cards at the paths. One that is damaged says nothing, and
// comes as an error beside the others.
func readCards[T any](paths []string) (cards []T, err error) {
	for _, path := range paths {
		text, rerr := os.ReadFile(path)
		if errors.Is(rerr, fs.ErrNotExist) {
			continue // gone since
		}
		var card T
		if rerr == nil {
			rerr = json.Unmarshal(text, &card)
		}
		if rerr != nil {
			err = errors.Join(err, fmt.Errorf("read card %s: %w", path, rerr))
			continue
		}
		cards = append(cards, card)
	}
	return cards, err
}

// card returns what a launch that gets so far leaves of m for [Launcher.Repair].
func card(m store.Machine) store.Machine {
	m.Started = time.Now() // as good as: QEMU is started next
	return m
}
