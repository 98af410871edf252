// Promrules answers what Prometheus makes of expressions and of a file of rules: which metrics they name, and which
// alerts fire on given series. It is Prometheus' own parser, checks, engine and templates; one JSON document is read
// and one is written.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/template"
)

// Rules are evaluated, and series have a sample, every so often.
const interval = 15 * time.Second

// Rules are evaluated from so long before on: no alert waits for longer.
const longest = 20 * time.Minute

type question struct {
	// Expressions to be parsed.
	Expressions []string `json:"expressions"`
	// A file of rules, as it stands.
	Rules string `json:"rules"`
	// Series to try the rules on.
	Cases []trial `json:"cases"`
}

type trial struct {
	// Series with their samples, as in promtool's `input_series`: `name{labels} 0 1x5`.
	Series []string `json:"series"`
	// When to look, in seconds.
	At int `json:"at"`
}

type answer struct {
	Expressions []parsed  `json:"expressions"`
	Alerts      []alert   `json:"alerts"`
	Cases       [][]fired `json:"cases"`
}

type parsed struct {
	Error   string     `json:"error"`
	Metrics []selector `json:"metrics"`
}

type selector struct {
	Name string `json:"name"`
	// Labels that the expression selects or groups by.
	Labels []string `json:"labels"`
}

type alert struct {
	Name string `json:"name"`
	parsed
}

type fired struct {
	Alert       string            `json:"alert"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

var language = parser.NewParser(parser.Options{})

func main() {
	var asked question
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		fail(err)
	}
	var told answer
	for _, text := range asked.Expressions {
		told.Expressions = append(told.Expressions, parse(text))
	}
	rules := rulesOf(asked.Rules)
	for _, rule := range rules {
		told.Alerts = append(told.Alerts, alert{rule.Alert, parse(rule.Expr)})
	}
	for _, one := range asked.Cases {
		firing, err := try(rules, one)
		if err != nil {
			fail(err)
		}
		told.Cases = append(told.Cases, firing)
	}
	if err := json.NewEncoder(os.Stdout).Encode(told); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// rulesOf checks a file of rules as Prometheus does before it loads one, templates included.
func rulesOf(text string) []rulefmt.Rule {
	if text == "" {
		return nil
	}
	groups, errs := rulefmt.Parse([]byte(text), false, model.UTF8Validation, language, slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		fail(errs[0])
	}
	var rules []rulefmt.Rule
	for _, group := range groups.Groups {
		rules = append(rules, group.Rules...)
	}
	return rules
}

func parse(text string) parsed {
	expr, err := language.ParseExpr(text)
	if err != nil {
		return parsed{Error: err.Error()}
	}
	var found parsed
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		if vector, ok := node.(*parser.VectorSelector); ok {
			found.Metrics = append(found.Metrics, selectorOf(vector, path))
		}
		return nil
	})
	return found
}

func selectorOf(vector *parser.VectorSelector, path []parser.Node) selector {
	one := selector{Name: vector.Name, Labels: []string{}}
	for _, matcher := range vector.LabelMatchers {
		if matcher.Name != labels.MetricName {
			one.Labels = append(one.Labels, matcher.Name)
		}
	}
	for _, node := range path {
		if aggregate, ok := node.(*parser.AggregateExpr); ok && !aggregate.Without {
			one.Labels = append(one.Labels, aggregate.Grouping...)
		}
	}
	return one
}

// try evaluates each rule until the time, as Prometheus does: an alert fires once its expression has
// held for as long as the rule asks for.
func try(rules []rulefmt.Rule, one trial) ([]fired, error) {
	load := fmt.Sprintf("load %s\n  %s\n", model.Duration(interval), strings.Join(one.Series, "\n  "))
	suite, err := promqltest.NewLazyLoader(load, promqltest.LazyLoaderOpts{EnableAtModifier: true, EnableNegativeOffset: true})
	if err != nil {
		return nil, err
	}
	defer suite.Close()
	since := make([]map[uint64]time.Time, len(rules))
	firing := []fired{}
	end := time.Unix(int64(one.At), 0).UTC()
	begin := time.Unix(max(0, int64(one.At)-int64(longest.Seconds())), 0).UTC()
	for now := begin; !now.After(end); now = now.Add(interval) {
		suite.WithSamplesTill(now, func(e error) { err = e })
		if err != nil {
			return nil, err
		}
		firing = []fired{}
		for index, rule := range rules {
			vector, err := evaluate(suite, rule.Expr, now)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", rule.Alert, err)
			}
			holding := map[uint64]time.Time{}
			for _, sample := range vector {
				key := sample.Metric.Hash()
				holding[key] = now
				if first, ok := since[index][key]; ok {
					holding[key] = first
				}
				if now.Sub(holding[key]) >= time.Duration(rule.For) {
					told, err := expand(suite, rule, sample, now)
					if err != nil {
						return nil, fmt.Errorf("%s: %w", rule.Alert, err)
					}
					firing = append(firing, told)
				}
			}
			since[index] = holding
		}
	}
	return firing, nil
}

func evaluate(suite *promqltest.LazyLoader, expr string, now time.Time) (promql.Vector, error) {
	query, err := suite.QueryEngine().NewInstantQuery(context.Background(), suite.Queryable(), nil, expr, now)
	if err != nil {
		return nil, err
	}
	result := query.Exec(context.Background())
	if result.Err != nil {
		return nil, result.Err
	}
	if scalar, ok := result.Value.(promql.Scalar); ok {
		return promql.Vector{{T: scalar.T, F: scalar.V}}, nil
	}
	return result.Vector()
}

// expand fills in the templates of a rule's labels and annotations, with the definitions that Prometheus gives them.
func expand(suite *promqltest.LazyLoader, rule rulefmt.Rule, sample promql.Sample, now time.Time) (fired, error) {
	data := template.AlertTemplateData(sample.Metric.Map(), nil, "", sample)
	ask := func(_ context.Context, expr string, at time.Time) (promql.Vector, error) {
		return evaluate(suite, expr, at)
	}
	all := func(texts map[string]string) (map[string]string, error) {
		filled := map[string]string{}
		for name, text := range texts {
			text = "{{$labels := .Labels}}{{$value := .Value}}" + text
			expander := template.NewTemplateExpander(context.Background(), text, rule.Alert, data,
				model.Time(timestamp.FromTime(now)), ask, nil, nil)
			done, err := expander.Expand()
			if err != nil {
				return nil, err
			}
			filled[name] = done
		}
		return filled, nil
	}
	names, err := all(rule.Labels)
	if err != nil {
		return fired{}, err
	}
	for name, value := range sample.Metric.Map() {
		if _, own := names[name]; !own && name != labels.MetricName {
			names[name] = value
		}
	}
	notes, err := all(rule.Annotations)
	return fired{rule.Alert, names, notes}, err
}
