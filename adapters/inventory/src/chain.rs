//! Chains of volumes, and snapshots of machines that are off, which are deltas over their disks.

use contract::{Bytes, MachineSpec, PlatformErrorKind as Kind, VolumeId};

use crate::site::Denial;

/// The volumes of a site.
pub trait Volumes {
    /// Size of a volume as a guest sees it; `None` if there is no such volume.
    fn size_of(&self, volume: &VolumeId) -> Option<Bytes>;

    /// The volume below a delta.
    fn parent_of(&self, volume: &VolumeId) -> Option<&VolumeId>;

    /// The volumes from `top` to the bottom of its chain.
    fn chain(&self, top: &VolumeId) -> Vec<VolumeId> {
        let mut chain = vec![top.clone()];
        while let Some(parent) = chain.last().and_then(|volume| self.parent_of(volume)) {
            chain.push(parent.clone());
        }
        chain
    }
}

/// The volumes of a machine's disks, in boot order.
#[must_use]
pub fn volumes_of(spec: &MachineSpec) -> Vec<VolumeId> {
    spec.disks.iter().map(|(_, volume)| volume.clone()).collect()
}

/// Name of the delta to which a disk on `below` writes after a snapshot.
#[must_use]
pub fn snapshot_above(below: &VolumeId, number: u64) -> VolumeId {
    VolumeId(format!("{below}-snapshot-{number}"))
}

/// The bottom of the chain of `top`, into which all snapshots are merged; `None` if there are none.
#[must_use]
pub fn base_below(volumes: &dyn Volumes, top: &VolumeId) -> Option<VolumeId> {
    volumes.chain(top).pop().filter(|base| base != top)
}

/// The volumes that disappear when `top` is merged into `base`, topmost first; none if `top` is
/// gone, because it was merged before, or is `base`.
///
/// # Errors
/// `base` is not below `top`.
pub fn merged_into(volumes: &dyn Volumes, top: &VolumeId, base: &VolumeId) -> Result<Vec<VolumeId>, Denial> {
    if volumes.size_of(top).is_none() {
        return Ok(Vec::new());
    }
    let mut chain = volumes.chain(top);
    let Some(depth) = chain.iter().position(|volume| volume == base) else {
        let text = format!("volume {top} is not a delta over volume {base}");
        return Err(Denial::new(Kind::NotFound, text));
    };
    chain.truncate(depth);
    Ok(chain)
}

/// Attaches another volume to a machine as its disk number `index`. Returns the volume that was
/// attached before.
pub fn reattach(spec: &mut MachineSpec, index: usize, volume: &VolumeId) -> Option<VolumeId> {
    let (_, attached) = spec.disks.get_mut(index)?;
    Some(std::mem::replace(attached, volume.clone()))
}

/// The error that a volume does not exist.
pub(crate) fn no_volume(volume: &VolumeId) -> Denial {
    Denial::new(Kind::NotFound, format!("there is no volume {volume}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `top` over `middle` over `base`.
    struct ThreeVolumes([VolumeId; 3]);

    impl Volumes for ThreeVolumes {
        fn size_of(&self, volume: &VolumeId) -> Option<Bytes> {
            self.0.contains(volume).then_some(Bytes(512))
        }

        fn parent_of(&self, volume: &VolumeId) -> Option<&VolumeId> {
            let at = self.0.iter().position(|known| known == volume)?;
            self.0.get(at + 1)
        }
    }

    #[test]
    fn snapshots_are_merged_into_the_bottom_of_their_chain() {
        let volumes = ThreeVolumes(["top", "middle", "base"].map(VolumeId::from));
        let [top, middle, base] = volumes.0.clone();
        assert_eq!(volumes.chain(&middle), [middle.clone(), base.clone()]);
        assert_eq!(base_below(&volumes, &top), Some(base.clone()));
        assert_eq!(base_below(&volumes, &base), None);
    }

    #[test]
    fn a_merge_removes_the_volumes_above_the_base() {
        let volumes = ThreeVolumes(["top", "middle", "base"].map(VolumeId::from));
        let [top, middle, base] = volumes.0.clone();
        assert_eq!(merged_into(&volumes, &top, &base), Ok(vec![top.clone(), middle.clone()]));
        assert_eq!(merged_into(&volumes, &top, &top), Ok(Vec::new()));
        assert_eq!(merged_into(&volumes, &"gone".into(), &base), Ok(Vec::new()));
        let refused = merged_into(&volumes, &base, &middle).map_err(|denial| denial.kind);
        assert_eq!(refused, Err(Kind::NotFound));
    }
}
