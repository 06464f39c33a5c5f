package main
import ("testing";"fmt";"os";"path/filepath")
func TestZZ(t *testing.T){
 base := "app: shop\nstacks:\n  files: [a.yml]\n  blue: {project: b}\n  green: {project: g}\n  web:\n    - {service: web, port_variable: P, blue: 127.0.0.1:1, green: 127.0.0.1:2}\n"
 for n, c := range []struct{n, text, env string}{
  {"plain", base, ""},
  {"unknown top", base+"nginxx: {}\n", ""},
  {"unknown depth2", base+"nginx: {dirr: /x}\n", ""},
  {"unknown in list struct", base+"rollout: {steps: [{weight: 5, soakk: 10m}, {weight: 100}]}\n", ""},
  {"unknown in list struct block", base+"rollout:\n  steps:\n    - weight: 5\n      soakk: 10m\n    - weight: 100\n", ""},
  {"steps merge", base+"rollout: {steps: [{weight: 100}]}\n", ""},
  {"tags merge", base+"tags: {prod: x}\n", ""},
  {"tags int", base+"tags: {prod: 5}\n", ""},
  {"tags null", base+"tags: {prod: }\n", ""},
  {"tags nested", base+"tags: {prod: {a: b}}\n", ""},
  {"dup", base+"app: other\n", ""},
  {"dup nested", base+"nginx:\n  dir: /a\n  dir: /b\n", ""},
  {"dup inline", base+"nginx: {dir: /a, dir: /b}\n", ""},
  {"dup tags", base+"tags: {prod: a, prod: b}\n", ""},
  {"null section", base+"verdict:\nnginx: ~\nrollout: null\n", ""},
  {"null value", base+"nginx: {dir: , binary: ~}\n", ""},
  {"anchor", base+"nginx: {dir: &d /a, conf: *d}\n", ""},
  {"anchor merge", base+"environments:\n  a: &x {nginx: {dir: /a}}\n  b:\n    <<: *x\n    state: /b\n", "b"},
  {"anchor outside", base+"nginx: {dir: &d /a}\nenvironments:\n  b: {state: *d}\n", "b"},
  {"alias whole env", base+"environments:\n  a: &x {nginx: {dir: /a}}\n  b: *x\n", "b"},
  {"merge unknown", base+"environments:\n  a: &x {nginx: {dirrr: /a}}\n  b:\n    <<: *x\n", "b"},
  {"anchor unknown", base+"nginx: {dir: *nope}\n", ""},
  {"second doc", base+"---\nfoo: bar\n", ""},
  {"list for map", base+"nginx: [a]\n", ""},
  {"scalar for map", base+"nginx: 5\n", ""},
  {"map for list", base+"routes: {a: b}\n", ""},
  {"string for list", base+"routes: x\n", ""},
  {"bad duration", base+"rollout: {bake: soon}\n", ""},
  {"number duration", base+"rollout: {bake: 20}\n", ""},
  {"bad weight", base+"rollout: {steps: [{weight: many}]}\n", ""},
  {"bad fraction", base+"verdict: {false_revert: lots}\n", ""},
  {"float ratio string", base+"verdict: {errors: {ratio: much}}\n", ""},
  {"int for string", base+"state: 5\n", ""},
  {"env nested", base+"environments: {staging: {stacks: {ready: {timeout: 5s}, files: [x.yml, y.yml, z.yml]}, rollout: {steps: [{weight: 50}, {weight: 100}]}}}\n", "staging"},
  {"env list of web", base+"environments: {staging: {stacks: {web: [{service: api, port_variable: Q, blue: 127.0.0.1:3, green: 127.0.0.1:4}]}}}\n", "staging"},
  {"env unknown", base, "moon"},
  {"env unknown key", base+"environments: {staging: {stakcs: {}}}\n", "staging"},
  {"env not map", base+"environments: {staging: 5}\n", "staging"},
  {"env null", base+"environments: {staging: }\n", "staging"},
  {"envs list", base+"environments: []\n", "staging"},
  {"environment in file", base+"environment: staging\nenvironments: {staging: {state: /here}}\n", ""},
  {"empty", "", ""}, {"comment", "# x\n", ""}, {"list doc", "- a\n", ""}, {"scalar doc", "hello\n", ""}, {"null doc", "~\n", ""},
  {"syntax", "app: [\n", ""}, {"tab", "app:\n\tx: y\n", ""}, {"binary", "\x00\xff\xfe\x01\x80", ""}, {"binary2", "\x7fELF\x02\x01\x01\x00\x00", ""},
  {"unfinished quote", "app: \"shop\n", ""},
  {"numeric key", base+"5: x\n", ""},
  {"hooks", base[:len(base)]+"", ""},
 } {
  p := filepath.Join(t.TempDir(), fmt.Sprint(n)+".yaml"); os.WriteFile(p, []byte(c.text), 0o644)
  func(){ defer func(){ if r := recover(); r != nil { fmt.Printf("%-24s PANIC %v\n", c.n, r)}}()
  cfg, err := loadConfig(p, c.env)
  fmt.Printf("%-24s %v\n", c.n, err)
  if err == nil { cfg.Environments=nil; fmt.Printf("      %+v\n", cfg) } }()
 }
}
