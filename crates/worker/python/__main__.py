"""Entry point: `python -I FOLDER`."""

from lodeway_worker.zygote import main

main()
