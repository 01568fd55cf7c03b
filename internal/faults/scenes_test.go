package faults

import (
	"os"
	"testing"
	"time"
)

// Everything that goes wrong with a whole installation, each by itself. SEED repeats
// a run; SCENE is the name of one scene to play alone.
func TestScenes(t *testing.T) {
	seed := seedOf(t, 0)
	scenes := Scenes()
	if one := os.Getenv("SCENE"); one != "" {
		for _, s := range scenes {
			if s.Name == one {
				scenes = []Scene{s}
			}
		}
	}
	cfg := SceneConfig{Seed: seed, Away: 6 * time.Second, Programs: programs, Dir: t.TempDir(), Log: testLog(t)}
	RunScenes(t.Context(), cfg, scenes, 4, func(res SceneResult) {
		if res.Err != nil {
			t.Errorf("%s: %v", res.Scene.Name, res.Err)
		}
		t.Logf("%s: %v", res.Scene.Name, res.Took.Round(100*time.Millisecond))
	})
}
