//! What is saved comes back bit for bit.

use std::path::Path;

use gauntlet::checkpoint::pt::{HostTensor, PtFile, PtValue, Snapshotter, write_pt};
use gauntlet::checkpoint::{
    CheckpointError, CheckpointKind, NamedShape, PlayerFile, PlayerState, Store,
};
use tch::{Device, IndexOp, Kind, Tensor};

use super::{assert_same, bytes, player, request};

fn write(path: &Path, value: &PtValue<HostTensor>) {
    write_pt(value, &mut std::fs::File::create(path).unwrap()).unwrap();
}

/// Saves tensors under their index and reads them back.
fn there_and_back(tensors: &[Tensor]) -> Vec<Tensor> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pt");
    let mut copier = Snapshotter::default();
    let items = tensors
        .iter()
        .map(|t| PtValue::Tensor(copier.copy("t", t).unwrap()))
        .collect();
    write(&path, &PtValue::List(items));
    let file = PtFile::open(&path).unwrap();
    let mut loader = file.loader();
    let read = file.root().elements().unwrap();
    read.iter()
        .map(|at| loader.tensor(at.as_tensor().unwrap()).unwrap())
        .collect()
}

#[test]
fn every_element_type_survives_bit_for_bit() {
    let kinds = [
        Kind::Float,
        Kind::Double,
        Kind::Half,
        Kind::BFloat16,
        Kind::Int64,
        Kind::Int,
        Kind::Int16,
        Kind::Int8,
        Kind::Uint8,
        Kind::Bool,
    ];
    let tensors: Vec<Tensor> = kinds
        .iter()
        .map(|kind| (Tensor::arange(35, (Kind::Float, Device::Cpu)) * 3.7).to_kind(*kind))
        .chain([Tensor::from_slice(&[
            f32::NAN,
            -f32::NAN,
            f32::INFINITY,
            -0.0,
            1e-45,
        ])])
        .map(|t| t.reshape([5, -1]))
        .collect();
    for (tensor, read) in tensors.iter().zip(there_and_back(&tensors)) {
        assert_same(&format!("{:?}", tensor.kind()), tensor, &read);
    }
}

#[test]
fn odd_shapes_survive() {
    let base = Tensor::arange(24, (Kind::Int64, Device::Cpu)).reshape([4, 6]);
    let tensors = [
        base.tr(),
        base.i((1..3, 2..5)),
        base.slice(1, 0, 6, 2),
        Tensor::from(3.5),
        Tensor::zeros([0], (Kind::Float, Device::Cpu)),
        Tensor::zeros([3, 0, 2], (Kind::BFloat16, Device::Cpu)),
        base.i((.., 0)).unsqueeze(1).expand([4, 5], false),
        Tensor::ones([1; 12], (Kind::Bool, Device::Cpu)),
    ];
    for (tensor, read) in tensors.iter().zip(there_and_back(&tensors)) {
        assert_same(&format!("{:?}", tensor.size()), tensor, &read);
    }
}

#[test]
fn a_tied_weight_is_written_once_and_read_back_tied() {
    let weight = Tensor::rand([64, 64], (Kind::Float, Device::Cpu));
    let other = Tensor::rand([64, 64], (Kind::Float, Device::Cpu));
    let mut read = there_and_back(&[weight.shallow_clone(), other, weight]);
    assert_eq!(read[0].data_ptr(), read[2].data_ptr());
    assert_ne!(read[0].data_ptr(), read[1].data_ptr());
    let _ = read[0].zero_();
    assert_eq!(read[2].sum(Kind::Float).double_value(&[]), 0.0);
}

#[test]
fn mapped_tensors_are_the_same_stay_tied_and_leave_the_file_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.pt");
    // One too small to be mapped, and large ones of several widths.
    let small = Tensor::rand([5, 7], (Kind::Float, Device::Cpu));
    let large = Tensor::rand([700, 1000], (Kind::Float, Device::Cpu));
    let halves = Tensor::rand([3_000_001], (Kind::Float, Device::Cpu)).to_kind(Kind::BFloat16);
    let bools = Tensor::rand([2_000_000], (Kind::Float, Device::Cpu)).gt(0.5);
    let tensors = [&small, &large, &halves, &bools, &large];
    let mut copier = Snapshotter::default();
    let items = tensors.map(|t| PtValue::Tensor(copier.copy("t", t).unwrap()));
    write(&path, &PtValue::List(items.into()));
    let bytes = std::fs::read(&path).unwrap();
    let file = PtFile::open(&path).unwrap();
    let mut loader = file.mapping_loader();
    let listed = file.root().elements().unwrap();
    let mut read: Vec<Tensor> = listed
        .iter()
        .map(|at| loader.tensor(at.as_tensor().unwrap()).unwrap())
        .collect();
    for (tensor, read) in tensors.iter().zip(&read) {
        assert_same(&format!("{:?}", tensor.kind()), tensor, read);
    }
    assert_eq!(read[1].data_ptr(), read[4].data_ptr());
    let _ = read[1].zero_();
    assert_eq!(read[4].sum(Kind::Float).double_value(&[]), 0.0);
    // Deleting the file does no harm; what is written to a tensor was never written to the file.
    std::fs::copy(&path, dir.path().join("copy.pt")).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_same("after deletion", &halves, &read[2]);
    assert!(std::fs::read(dir.path().join("copy.pt")).unwrap() == bytes);
}

#[test]
fn equal_states_give_equal_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = dir.path().join(name);
        write(&path, &player(1).snapshot().unwrap());
        std::fs::read(path).unwrap()
    };
    assert_eq!(file("a.pt"), file("b.pt"));
}

#[test]
fn an_element_type_without_a_place_in_the_format_is_refused_by_name() {
    let mut player = player(1);
    let complex = Tensor::zeros([2], (Kind::ComplexFloat, Device::Cpu));
    player.model_state_dict.push(("z".into(), complex));
    let error = player.snapshot().unwrap_err().to_string();
    assert!(
        error.contains("cannot save z") && error.contains("ComplexFloat"),
        "{error}"
    );
}

fn assert_same_player(saved: &PlayerState, read: &PlayerState) {
    assert_eq!(saved.model_state_dict.len(), read.model_state_dict.len());
    for ((name, a), (other, b)) in saved.model_state_dict.iter().zip(&read.model_state_dict) {
        assert_eq!(name, other);
        assert_same(name, a, b);
    }
    let (a, b) = (
        saved.optimizer.as_ref().unwrap(),
        read.optimizer.as_ref().unwrap(),
    );
    assert_eq!(a.groups.len(), b.groups.len());
    for (a, b) in a.groups.iter().zip(&b.groups) {
        assert_eq!(
            (a.lr, a.betas, a.eps, a.weight_decay),
            (b.lr, b.betas, b.eps, b.weight_decay)
        );
        assert_eq!(a.params.len(), b.params.len());
        for (a, b) in a.params.iter().zip(&b.params) {
            assert_eq!((&a.name, a.step), (&b.name, b.step));
            assert_same(&a.name, &a.exp_avg, &b.exp_avg);
            assert_same(&a.name, &a.exp_avg_sq, &b.exp_avg_sq);
        }
    }
    assert_eq!(saved.stage_id, read.stage_id);
    assert_eq!(saved.metrics, read.metrics);
    assert_eq!(saved.model_config, read.model_config);
    assert_eq!(saved.lora_config, read.lora_config);
}

#[test]
fn a_checkpoint_comes_back_whole() {
    let run = tempfile::tempdir().unwrap();
    let store = Store::create(run.path()).unwrap();
    let saved = store.save(request("stage_3", 120, Some(0.5))).unwrap();
    let checkpoint = store.load("stage_3").unwrap();
    assert_eq!(checkpoint.manifest_hash(), saved.manifest_hash);
    assert!(checkpoint.verify().is_empty(), "{:?}", checkpoint.verify());

    assert_same_player(
        &player(120),
        &checkpoint.generator().unwrap().state().unwrap(),
    );
    assert_same_player(
        &player(-120),
        &checkpoint.discriminator().unwrap().state().unwrap(),
    );
    let sent = request("stage_3", 120, Some(0.5));
    assert_eq!(checkpoint.metrics().unwrap(), sent.metrics);
    assert_eq!(checkpoint.training_config().unwrap(), sent.training_config);
    assert_eq!(
        checkpoint.trainer_state::<serde_json::Value>().unwrap(),
        sent.trainer_state
    );
    assert_eq!(checkpoint.mistake_book().unwrap(), sent.mistake_book);
    assert_eq!(checkpoint.tokenizer().unwrap(), sent.tokenizer);
    assert_eq!(checkpoint.prompts().unwrap(), sent.prompts);
    let manifest = checkpoint.manifest();
    assert_eq!(
        (manifest.stage, manifest.step, manifest.score),
        (3, 120, Some(0.5))
    );
    assert_eq!(checkpoint.players(), ["generator", "discriminator"]);
}

#[test]
fn a_snapshot_does_not_change_with_the_weights() {
    let run = tempfile::tempdir().unwrap();
    let store = Store::create(run.path()).unwrap();
    let request = request("stage_3", 1, None);
    let mut weight = request.players[0].1.model_state_dict[0].1.shallow_clone();
    let before = bytes(&weight);
    let job = request.snapshot().unwrap();
    let _ = weight.zero_();
    std::thread::scope(|scope| scope.spawn(|| store.write(&job)).join().unwrap()).unwrap();
    let read = store
        .load("stage_3")
        .unwrap()
        .generator()
        .unwrap()
        .model_state_dict()
        .unwrap();
    assert_eq!(bytes(&read[0].1), before);
}

#[test]
fn a_sampler_checkpoint_has_weights_but_no_optimizer() {
    let run = tempfile::tempdir().unwrap();
    let store = Store::create(run.path()).unwrap();
    let mut request = request("step_000010", 10, None);
    request.kind = CheckpointKind::Sampler;
    store.save(request).unwrap();
    let generator = store.load("step_000010").unwrap().generator().unwrap();
    assert_eq!(generator.model_state_dict().unwrap().len(), 2);
    assert!(generator.optimizer().unwrap().is_none());
}

#[test]
fn another_architecture_is_named_layer_by_layer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("generator.pt");
    write(&path, &player(1).snapshot().unwrap());
    let file = PlayerFile::open(&path).unwrap();
    let shapes: Vec<NamedShape> = file
        .tensors()
        .unwrap()
        .into_iter()
        .map(|t| (t.name, t.shape))
        .collect();
    file.check_architecture(&shapes).unwrap();
    let mut wider = shapes.clone();
    wider[1].1 = vec![5];
    wider.push(("lm_head.weight".into(), vec![4, 5]));
    let error = file.check_architecture(&wider).unwrap_err();
    assert!(matches!(error, CheckpointError::Architecture(_)));
    let text = error.to_string();
    assert!(
        text.contains("model.norm.weight: shape [3], the model has [5]"),
        "{text}"
    );
    assert!(
        text.contains("lm_head.weight: missing, the model has [4, 5]"),
        "{text}"
    );
}
