// Kstatus says what GitOps tools make of objects. It reads objects as JSON from stdin, one after another, and prints a
// line of JSON for each: what kstatus computes, which is what Flux goes by; with -lua FILE what that health script
// returns, run as Argo CD runs it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Argo CD gives a script as long.
const scriptTimeout = time.Second

type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func main() {
	file := flag.String("lua", "", "a health script of Argo CD, instead of kstatus")
	flag.Parse()
	judge := kstatus
	if *file != "" {
		script, err := os.ReadFile(*file)
		if err != nil {
			fail(err)
		}
		judge = func(object *unstructured.Unstructured) (verdict, error) {
			return health(string(script), object)
		}
	}
	if err := run(judge); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func run(judge func(*unstructured.Unstructured) (verdict, error)) error {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var raw json.RawMessage
		if err := in.Decode(&raw); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		// As clients do it: whole numbers become int64.
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(raw); err != nil {
			return err
		}
		said, err := judge(object)
		if err != nil {
			return fmt.Errorf("%s: %w", object.GetName(), err)
		}
		if err := out.Encode(said); err != nil {
			return err
		}
	}
}

func kstatus(object *unstructured.Unstructured) (verdict, error) {
	result, err := status.Compute(object)
	if err != nil {
		return verdict{}, err
	}
	return verdict{result.Status.String(), result.Message}, nil
}

// The global obj, and no libraries but these: a script that uses another fails in Argo CD as it does here.
func health(script string, object *unstructured.Unstructured) (verdict, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage,
		lua.BaseLibName: lua.OpenBase,
		lua.TabLibName:  lua.OpenTable,
	} {
		call := lua.P{Fn: state.NewFunction(open), Protect: true}
		if err := state.CallByParam(call, lua.LString(name)); err != nil {
			return verdict{}, err
		}
	}
	limited, cancel := context.WithTimeout(context.Background(), scriptTimeout)
	defer cancel()
	state.SetContext(limited)
	state.SetGlobal("obj", value(state, object.Object))
	if err := state.DoString(script); err != nil {
		return verdict{}, err
	}
	table, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return verdict{}, fmt.Errorf("the script returned a %s, no table", state.Get(-1).Type())
	}
	code := lua.LVAsString(table.RawGetString("status"))
	switch code {
	case "Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown":
		return verdict{code, lua.LVAsString(table.RawGetString("message"))}, nil
	}
	return verdict{}, fmt.Errorf("%q is no health status", code)
}

func value(state *lua.LState, of any) lua.LValue {
	switch v := of.(type) {
	case bool:
		return lua.LBool(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	case string:
		return lua.LString(v)
	case []any:
		table := state.NewTable()
		for _, item := range v {
			table.Append(value(state, item))
		}
		return table
	case map[string]any:
		table := state.NewTable()
		for key, item := range v {
			table.RawSetString(key, value(state, item))
		}
		return table
	default:
		return lua.LNil
	}
}
