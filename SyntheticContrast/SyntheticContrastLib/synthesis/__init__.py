"""From an NCCT and a model bundle to an sCECT: choice of device, sliding windows, progress, the headless process."""
