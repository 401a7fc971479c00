package image

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// A suite is one release of a distribution at a mirror: a line of a sources
// list, see sources.list(5).
type suite struct {
	mirror  string // address of the repository, as the system has it
	name    string // trixie-backports
	keyring string // file with the keys its index has to be signed by
}

// line returns the suite as a sources list has it.
func (s suite) line() string {
	return fmt.Sprintf("deb [arch=amd64 signed-by=%s] %s %s main\n", s.keyring, s.mirror, s.name)
}

// A release is what /etc/os-release says about this machine.
type release struct{ id, codename string }

func parseRelease(text string) release {
	var r release
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"'`)
		switch key {
		case "ID":
			r.id = value
		case "VERSION_CODENAME":
			r.codename = value
		}
	}
	return r
}

// A target is a repository that the system's package client knows.
type target struct{ mirror, suite, origin string }

// parseTargets reads `apt-get indextargets`: paragraphs of "Key: value" lines.
func parseTargets(text string) []target {
	var all []target
	for para := range strings.SplitSeq(text, "\n\n") {
		f := fields(para)
		if f["Identifier"] == "Packages" && f["Component"] == "main" {
			all = append(all, target{mirror: f["Repo-URI"], suite: f["Release"], origin: f["Origin"]})
		}
	}
	return all
}

// parseURIs reads `apt-get update --print-uris`, which knows the repositories
// even before the first update. It prints 'MIRROR/dists/SUITE/InRelease' first.
func parseURIs(text string) []target {
	var all []target
	for line := range strings.Lines(text) {
		uri, ok := strings.CutSuffix(strings.Trim(strings.Fields(line + " -")[0], "'"), "/InRelease")
		mirror, name, both := strings.Cut(uri, "/dists/")
		if ok && both {
			all = append(all, target{mirror: mirror + "/", suite: name})
		}
	}
	return all
}

// fields reads "Key: value" lines. A repeated key keeps its first value.
func fields(para string) map[string]string {
	f := map[string]string{}
	for line := range strings.Lines(para) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if _, again := f[key]; ok && !again {
			f[key] = value
		}
	}
	return f
}

// mirrorOf returns the repository from which this machine itself was installed.
func mirrorOf(r release, targets []target) (string, bool) {
	for _, t := range targets {
		if t.suite == r.codename && (t.origin == "" || strings.EqualFold(t.origin, r.id)) {
			return t.mirror, true
		}
	}
	return "", false
}

// suiteNames returns the releases in which kernels of this version are looked
// for, best first: where a version is at home, then where newer ones are.
func suiteNames(r release, version string) []string {
	if r.id == "ubuntu" {
		return []string{r.codename + "-updates", r.codename, r.codename + "-security"}
	}
	switch {
	case versionMatches(version, "6.12"):
		return []string{"trixie", "bookworm-backports"}
	case versionMatches(version, "6.1"):
		return []string{"bookworm"}
	}
	return []string{"trixie-backports", "trixie"}
}

// keyring returns the file with the distribution's own keys. It fails with a
// [*MissingError] when it isn't installed.
func keyring(id string) (string, error) {
	for _, ending := range []string{"gpg", "pgp"} {
		path := fmt.Sprintf("/usr/share/keyrings/%s-archive-keyring.%s", id, ending)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	name := id + "-archive-keyring"
	return "", &MissingError{What: name, Need: "check packages of the distribution", Hint: "try: apt-get install " + name}
}

// suites returns the suites for kernels of this version on a machine of release
// r that knows these targets.
func suites(r release, targets []target, version string) ([]suite, error) {
	if r.id != "debian" && r.id != "ubuntu" {
		return nil, &MissingError{
			What: fmt.Sprintf("known kernel packages for distribution %q", r.id),
			Need: "fetch a kernel", Hint: "give a kernel file: --kernel PATH",
		}
	}
	mirror, ok := mirrorOf(r, targets)
	if !ok {
		return nil, fmt.Errorf("mirror of %s %s: %w in the system's package sources (see: apt-get indextargets)", r.id, r.codename, fs.ErrNotExist)
	}
	keys, err := keyring(r.id)
	if err != nil {
		return nil, err
	}
	var all []suite
	for _, name := range suiteNames(r, version) {
		all = append(all, suite{mirror: mirror, name: name, keyring: keys})
	}
	return all, nil
}
