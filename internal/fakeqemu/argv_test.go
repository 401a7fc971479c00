package fakeqemu

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplit(t *testing.T) {
	for list, want := range map[string]group{
		"socket,id=a,path=/x":     {"": "socket", "id": "a", "path": "/x"},
		"file,path=/a,,b,,c,id=x": {"": "file", "path": "/a,b,c", "id": "x"},
		"chardev=a,mode=control":  {"chardev": "a", "mode": "control"},
		"q35,nvdimm":              {"": "q35", "nvdimm": "on"},
		`{"driver":"x","cid":3}`:  {"driver": "x", "cid": "3"},
		"4":                       {"": "4"},
		"a=b=c":                   {"a": "b=c"},
	} {
		if diff := cmp.Diff(want, split(list)); diff != "" {
			t.Errorf("%s: %s", list, diff)
		}
	}
}
