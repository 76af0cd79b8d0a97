package boundary

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Target is one kind of thing of the control plane that is searched.
type Target struct {
	Kind  string   // database, files, log, metrics, memory, relay, link
	Files []string // files and folders
	PIDs  []int    // processes, for their memory
	// Named says that a name that the program chose is written there for certain, so that it must be found: else the search
	// has not looked at the right thing, or cannot see.
	Named bool
}

// Looked is what a search of one target found.
type Looked struct {
	Kind   string `json:"kind"`
	Bytes  int64  `json:"bytes"` // looked at, compressed as they lie there
	Named  bool   `json:"named"`
	Names  int    `json:"names"`  // hits of the marker in names
	Leaks  []Hit  `json:"leaks"`  // the first hit of each form and place
	Leaked int    `json:"leaked"` // how many there were
	Cut    int    `json:"cut"`    // compressed streams that were not looked at to their end
}

// maxLeaks hits of a target are kept, one for each form and place.
const maxLeaks = 200

// Report is the outcome of a boundary test.
type Report struct {
	Probe  *Probe   `json:"probe"`
	Looked []Looked `json:"looked"`
	// Missing are the places whose markers were not found in the data plane either, so that their absence in the control plane
	// proves nothing. Nil when no data plane was searched.
	Missing  []string `json:"missing,omitempty"`
	Problems []string `json:"problems"` // empty: the boundary held, and the search could have seen a breach
}

// Look searches the targets, and data, folders of the data plane in which every marker has to be.
func (p *Probe) Look(targets []Target, data []string) (*Report, error) {
	report := &Report{Probe: p, Problems: []string{}}
	for _, target := range targets {
		looked, err := p.look(target)
		if err != nil {
			return nil, fmt.Errorf("search the control plane's %s: %w", target.Kind, err)
		}
		report.Looked = append(report.Looked, looked)
	}
	if len(data) > 0 {
		missing, err := p.missing(data)
		if err != nil {
			return nil, fmt.Errorf("search the data plane: %w", err)
		}
		report.Missing = missing
	}
	report.Problems = judge(report)
	return report, nil
}

func (p *Probe) look(target Target) (Looked, error) {
	looked := Looked{Kind: target.Kind, Named: target.Named, Leaks: []Hit{}}
	content := NewSearcher(p.Content, func(h Hit) {
		looked.Leaked++
		same := slices.ContainsFunc(looked.Leaks, func(o Hit) bool { return o.Form == h.Form && o.Place == h.Place })
		if !same && len(looked.Leaks) < maxLeaks {
			looked.Leaks = append(looked.Leaks, h)
		}
	})
	content.Cut = func(string, int64) { looked.Cut++ }
	names := NewSearcher(p.Name, func(Hit) { looked.Names++ })
	for _, path := range target.Files {
		n, err := content.Files(path)
		if err == nil {
			_, err = names.Files(path)
		}
		if err != nil {
			return looked, err
		}
		looked.Bytes += n
	}
	for _, pid := range target.PIDs {
		n, err := content.Memory(pid)
		if err == nil {
			_, err = names.Memory(pid)
		}
		if err != nil {
			return looked, err
		}
		looked.Bytes += n
	}
	return looked, nil
}

// missing lists the places whose markers are nowhere in the folders.
func (p *Probe) missing(folders []string) ([]string, error) {
	seen := map[string]bool{}
	s := NewSearcher(p.Content, func(h Hit) { seen[strings.ToLower(h.Place)] = true })
	for _, folder := range folders {
		if _, err := s.Files(folder); err != nil {
			return nil, err
		}
	}
	missing := []string{}
	for _, place := range Places {
		if !seen[place.Code] && !kept[place.Code] {
			missing = append(missing, place.What)
		}
	}
	return missing, nil
}

// judge says what is wrong: a leak, or a search that could not have seen one.
func judge(r *Report) (problems []string) {
	problems = []string{}
	for _, looked := range r.Looked {
		if looked.Leaked > 0 {
			places := map[string]bool{}
			for _, hit := range looked.Leaks {
				places[what(hit.Place)] = true
			}
			problems = append(problems, fmt.Sprintf("content is in the control plane's %s, %d times: %s; first in %s at %d as %s",
				looked.Kind, looked.Leaked, strings.Join(sorted(places), ", "), looked.Leaks[0].In, looked.Leaks[0].Offset, looked.Leaks[0].Form))
		}
		switch {
		case looked.Bytes == 0:
			problems = append(problems, fmt.Sprintf("nothing of the control plane's %s was there to be searched", looked.Kind))
		case looked.Named && looked.Names == 0:
			problems = append(problems, fmt.Sprintf("the name that must stand in the control plane's %s was not found there: the search proves nothing", looked.Kind))
		}
		if looked.Cut > 0 {
			problems = append(problems, fmt.Sprintf("%d compressed streams in the control plane's %s were too large to be searched to their end", looked.Cut, looked.Kind))
		}
	}
	if len(r.Missing) > 0 {
		problems = append(problems, "these markers are not in the data plane either, so that they prove nothing: "+strings.Join(r.Missing, ", "))
	}
	return problems
}

// what is the name of a place.
func what(code string) string {
	for _, place := range Places {
		if place.Code == strings.ToLower(code) {
			return place.What
		}
	}
	return cmp.Or(code, "a marker whose place cannot be read")
}

func sorted(set map[string]bool) (list []string) {
	for key := range set {
		list = append(list, key)
	}
	slices.Sort(list)
	return list
}
