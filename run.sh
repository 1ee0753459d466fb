cd /tmp/agree; export TMPDIR=/dev/shm/agree PYTHONPATH=/tmp/agree:/tmp/agree/runtime DURO_PROPERTY_EXAMPLES=500
.venv/bin/python -m pytest -vv -p no:cacheprovider tests/properties/test_stores_agree.py -k Pruning --hypothesis-seed=33667709245575075318763089158276129230 > /tmp/mine/agree18b.log 2>&1; echo rc $? >> /tmp/mine/agree18b.log
for i in 1 2 3 4 5 6 7 8; do .venv/bin/python -m pytest -vv -p no:cacheprovider tests/properties/test_stores_agree.py > /tmp/mine/agreeX$i.log 2>&1; echo rc $? >> /tmp/mine/agreeX$i.log; done
