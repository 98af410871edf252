//! A burst of spot notices, beside the raw limit, which comes first and last.

use testbed::aws::events;
use testbed::cluster::TestNode;

use crate::bed::Bed;
use crate::cost::Cost;
use crate::ours;
use crate::raw;
use crate::report::{Row, megabytes, percentile, time};
use crate::seen::Round;
use crate::sizes::Sizes;
use crate::stage::Stage;

pub async fn rows(sizes: &Sizes) -> anyhow::Result<Vec<Row>> {
    let bed = Bed::new().await?;
    let (nodes, pods) = sizes.burst;
    let (mut raw, mut ours) = (Vec::new(), Vec::new());
    for name in ["raw-1", "ours-1", "ours-2", "raw-2"] {
        let stage = Stage::set(&bed, name, nodes, pods).await?;
        if name.starts_with("raw") {
            raw.push(raw::run(&bed, &stage).await?);
        } else {
            let notice = |n: &TestNode, now| events::spot_interruption(&n.instance_id, now);
            ours.push(ours::run(&bed, &stage, notice, true).await?);
        }
        stage.clear(&bed).await?;
    }
    for (_, cost) in &ours {
        eprintln!("  {}", cost.by_request());
    }
    Ok(table(sizes.burst, &raw, &ours))
}

fn table((nodes, pods): (usize, usize), raw: &[Round], ours: &[(Round, Cost)]) -> Vec<Row> {
    let what = |what: &str| format!("burst of {nodes} × {pods}: {what}");
    let of_raw = |value: fn(&Round) -> _| raw.iter().map(value).collect::<Vec<_>>();
    let of_ours = |value: fn(&Round) -> _| ours.iter().map(|(r, _)| value(r)).collect::<Vec<_>>();
    let each = |value: &dyn Fn(&(Round, Cost)) -> String| {
        let each: Vec<_> = ours.iter().map(value).collect();
        each.join(", ")
    };
    let requests = |cost: &Cost| cost.requests.len() as f64 / nodes as f64;
    let most = pods + 12;
    let cheap = ours.iter().all(|(_, c)| requests(c) <= most as f64);
    let median = |r: &Round| time(percentile(&r.cordons(), 0.5));
    let medians: Vec<_> = raw.iter().map(median).collect();
    vec![
        Row::at_most(
            &what("last node cordoned"),
            1.5,
            &of_raw(Round::last_cordon),
            &of_ours(Round::last_cordon),
        ),
        Row::told(&what("median cordon"), &each(&|(r, _)| median(r))).beside(&medians.join(", ")),
        Row::at_most(
            &what("last pod gone"),
            1.15,
            &of_raw(Round::last_gone),
            &of_ours(Round::last_gone),
        ),
        Row::promised(
            &what("requests per node"),
            &format!("≤ {pods} + 12"),
            &each(&|(_, c)| format!("{pods} + {:.1}", requests(c) - pods as f64)),
            cheap,
        ),
        Row::told(&what("peak RSS"), &each(&|(_, c)| megabytes(c.peak_rss))),
        Row::told(&what("CPU"), &each(&|(_, c)| time(c.cpu))),
    ]
}
