package image

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// A shape is one way in which a distribution cuts a kernel into packages. A %
// stands for the kernel's version with its flavour.
type shape struct {
	need []string // all of them make a kernel
	also []string // taken too where there: lists of what is built in
}

// shapes returns all shapes that are known, best first.
func shapes() []shape {
	return []shape{
		{need: []string{"linux-binary-%", "linux-modules-%"}, also: []string{"linux-base-%"}}, // Debian, 7.0 and later
		{need: []string{"linux-image-%-unsigned"}},                                            // Debian, before
		{need: []string{"linux-image-unsigned-%", "linux-modules-%"}},                         // Ubuntu
	}
}

// flavours end the versions of kernels that are wanted: made for virtual
// machines in Debian, the only one for all in Ubuntu.
func flavours() []string { return []string{"-cloud-amd64", "-generic"} }

// packagePattern matches every package that a shape may need for a version
// with this prefix; "" is any version.
func packagePattern(prefix string) string {
	prefix = regexp.QuoteMeta(prefix)
	if prefix == "" {
		prefix = "[0-9]" // not linux-image-cloud-amd64, which has no version
	}
	return `linux-(binary|modules|base|image|image-unsigned)-` + prefix + `.*`
}

// chooseKernel returns the newest version with this prefix of which all
// packages are among names, and those packages. Old versions are often there
// in part only.
func chooseKernel(names []string, prefix string) (version string, packages []string) {
	have := map[string]bool{}
	for _, n := range names {
		have[n] = true
	}
	for _, v := range slices.Backward(kernelVersions(names)) {
		if !versionMatches(v, prefix) {
			continue
		}
		for _, s := range shapes() {
			if pkgs, ok := s.fill(v, have); ok {
				return v, pkgs
			}
		}
	}
	return "", nil
}

func (s shape) fill(version string, have map[string]bool) ([]string, bool) {
	var pkgs []string
	for _, pattern := range s.need {
		name := strings.ReplaceAll(pattern, "%", version)
		if !have[name] {
			return nil, false
		}
		pkgs = append(pkgs, name)
	}
	for _, pattern := range s.also {
		if name := strings.ReplaceAll(pattern, "%", version); have[name] {
			pkgs = append(pkgs, name)
		}
	}
	return pkgs, true
}

// kernelVersions returns the versions of a wanted flavour in the names of
// packages, oldest first.
func kernelVersions(names []string) []string {
	begin := regexp.MustCompile(`^linux-[a-z-]*-(\d.*)$`)
	var all []string
	for _, name := range names {
		m := begin.FindStringSubmatch(strings.TrimSuffix(name, "-unsigned"))
		if m == nil || !slices.ContainsFunc(flavours(), func(f string) bool { return strings.HasSuffix(m[1], f) }) {
			continue
		}
		all = append(all, m[1])
	}
	slices.SortFunc(all, compareVersions)
	return slices.Compact(all)
}

// versionMatches reports whether version is prefix or goes on from it at the
// end of a number: 7.3 has 7.3.4+deb13 but not 7.30.
func versionMatches(version, prefix string) bool {
	rest, ok := strings.CutPrefix(version, prefix)
	return ok && (rest == "" || !isDigit(rest[0]))
}

// compareVersions orders versions: runs of digits by their number, the rest by
// their bytes. That is enough for kernel versions; Debian's rules know more.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		na, nb := chunk(a), chunk(b)
		order := strings.Compare(a[:na], b[:nb])
		if isDigit(a[0]) && isDigit(b[0]) {
			order = compareNumbers(a[:na], b[:nb])
		}
		if order != 0 {
			return order
		}
		a, b = a[na:], b[nb:]
	}
	return cmp.Compare(len(a), len(b))
}

// compareNumbers orders runs of digits of any length by their number.
func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

// chunk returns the length of the run of digits or of other bytes at the start.
func chunk(s string) int {
	n := 1
	for n < len(s) && isDigit(s[n]) == isDigit(s[0]) {
		n++
	}
	return n
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
