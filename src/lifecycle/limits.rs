//! How many of a policy's nodes may be drained at once.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::policy::Limits;

/// How many of `nodes` may be at work at once, at least one; `None`: all of them.
#[must_use]
pub fn most(limits: &Limits, nodes: u32) -> Option<u32> {
    match &limits.max_concurrent {
        IntOrString::Int(number) => Some(u32::try_from(*number).unwrap_or(1).max(1)),
        IntOrString::String(share) => {
            let percent: u64 = share.trim_end_matches('%').parse().unwrap_or(100);
            let share = u64::from(nodes) * percent / 100;
            (percent < 100).then(|| u32::try_from(share).unwrap_or(u32::MAX).max(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_down_but_never_to_none() {
        let share = |text: &str| IntOrString::String(text.to_owned());
        for (max_concurrent, nodes, allowed) in [
            (share("100%"), 10, None),
            (share("10%"), 100, Some(10)),
            (share("10%"), 19, Some(1)),
            (share("1%"), 5, Some(1)),
            (share("50%"), 0, Some(1)),
            (IntOrString::Int(3), 100, Some(3)),
            (IntOrString::Int(3), 1, Some(3)),
        ] {
            let limits = Limits { max_concurrent };
            assert_eq!(most(&limits, nodes), allowed, "{limits:?} of {nodes}");
        }
    }
}
