package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/lab"
)

// defaultLabFile is the file that a lab is read from when none is named.
const defaultLabFile = "vmlaunch.yaml"

// maxLabFile bounds a file that somebody named by mistake.
const maxLabFile = 4 << 20

// labFlags say which lab a command is about.
type labFlags struct {
	files    []string
	name     string
	profiles []string
	copies   int
}

func (f *labFlags) add(cmd *cobra.Command) {
	f.addFile(cmd)
	cmd.Flags().IntVar(&f.copies, "copies", 0, "`N` copies of the lab, called NAME-1 to NAME-N, each in namespaces of its own")
}

// addFile adds the flags that name a lab.
func (f *labFlags) addFile(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringArrayVarP(&f.files, "file", "f", nil, "a lab's `FILE` (default "+defaultLabFile+" where there is one); more are laid over it")
	fs.StringVarP(&f.name, "lab", "p", "", "call the lab `NAME` instead of what its file says")
	fs.StringArrayVar(&f.profiles, "profile", nil, "with the machines of `PROFILE`, too; may be repeated")
	_ = cmd.MarkFlagFilename("file", "yaml", "yml")
}

// asked reports whether the command line is about a lab for certain.
func (f *labFlags) asked(cmd *cobra.Command) bool {
	for _, name := range []string{"file", "lab", "profile", "copies"} {
		if cmd.Flags().Changed(name) {
			return true
		}
	}
	return false
}

// eitherWay says that flags which describe a machine stand beside those of a lab.
func eitherWay(flags string) error {
	return usagef("%s describes a machine, a lab's file describes its own (one or the other)", flags)
}

// there reports whether a lab is declared in the current folder.
func (f *labFlags) there() bool {
	_, err := os.Stat(defaultLabFile)
	return err == nil
}

// read reads the lab that the flags name. It fails with [configs.FileErrors],
// with [fs.ErrNotExist], and with [ErrUsage].
func (f *labFlags) read(a *app) (configs.Lab, error) {
	if f.copies < 0 {
		return configs.Lab{}, usagef("copies %d: want at least 1", f.copies)
	}
	names := f.files
	if len(names) == 0 {
		names = []string{defaultLabFile}
	}
	var files []configs.LabFile
	for _, name := range names {
		file, err := readLabFile(name)
		if errors.Is(err, fs.ErrNotExist) && len(f.files) == 0 {
			err = fmt.Errorf("%w (-f FILE names another)", err)
		}
		if err != nil {
			return configs.Lab{}, err
		}
		files = append(files, file)
	}
	return configs.ReadLab(files, configs.LabOptions{Name: f.name, Profiles: f.profiles, Getenv: a.lookupEnv})
}

// all returns the copies of the lab that the flags ask for.
func (f *labFlags) all(a *app) ([]configs.Lab, error) {
	l, err := f.read(a)
	if err != nil {
		return nil, err
	}
	copies, err := lab.Copies(l, f.copies)
	if err != nil {
		return nil, &usageError{err}
	}
	return copies, nil
}

// pullAll does for the machines of labs what [app.pulled] does for one; each image is
// looked at once. Without fetch nothing is pulled, and what is not there keeps its
// name.
func (a *app) pullAll(ctx context.Context, labs []configs.Lab, fetch bool) error {
	there := map[string]bool{}
	for _, l := range labs {
		for i := range l.Machines {
			m := &l.Machines[i].Machine
			resolve := a.known
			if name := m.Image; fetch && !there[name] {
				resolve = func(m configs.Machine) (configs.Machine, error) { return a.pulled(ctx, m) }
				there[name] = true
			}
			full, err := resolve(*m)
			if err != nil && !fetch && errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			*m = full
		}
	}
	return nil
}

// names returns what the copies are called; the file is read only if the flags
// don't say.
func (f *labFlags) names(a *app) ([]string, error) {
	l := configs.Lab{Name: f.name}
	if f.name == "" {
		var err error
		if l, err = f.read(a); err != nil {
			return nil, err
		}
	}
	l.Machines, l.Namespaces = nil, nil
	copies, err := lab.Copies(l, f.copies)
	if err != nil {
		return nil, &usageError{err}
	}
	var names []string
	for _, c := range copies {
		names = append(names, c.Name)
	}
	return names, nil
}

func readLabFile(name string) (configs.LabFile, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return configs.LabFile{}, err
	}
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return configs.LabFile{}, fmt.Errorf("read lab: %w", err)
	case info.Size() > maxLabFile:
		return configs.LabFile{}, usagef("lab %s: of %d bytes, want at most %d", name, info.Size(), maxLabFile)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return configs.LabFile{}, fmt.Errorf("read lab: %w", err)
	}
	return configs.LabFile{Name: name, Dir: filepath.Dir(abs), Text: text}, nil
}

// lookupEnv asks for a variable as os.LookupEnv does. The host tells only values,
// so an empty one counts as not set.
func (a *app) lookupEnv(name string) (string, bool) {
	v := a.host.Getenv(name)
	return v, v != ""
}
