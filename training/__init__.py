"""The workstation's part: photographs and NIR frames in, trained checkpoints out."""
